/*
 * A keeper, seen by its own files alone; what it is for stands in agent_keep.h.
 *   agent_keep.c           its life: the folder, the loop, the words that other agents say to it
 *   agent_keep_session.c   the command's session, to which it plays the host
 *   agent_keep_reader.c    hosts that are attached
 *   agent_keep_find.c      what other agents do: find keepers and speak to them
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "guest/agent/agent_ring.h"
#include "guest/contract/guest_channel.h"
#include "guest/contract/guest_request.h"

#define KEEPER_OP       "agent.session"
#define KEEPER_FOLDER   "/run/banger/exec" /* a socket for each, named by its id */
#define KEEPER_ID_BYTES 4
#define KEEPER_WORD_MS  2000 /* for what agents say to each other */
#define KEEPER_READERS  8

/* What is said to a keeper: a byte, and its connection or a second byte. */
enum keeper_word {
        WORD_ATTACH = 'a', /* with a descriptor */
        WORD_WAIT = 'w',   /* likewise, without output */
        WORD_STATUS = 's', /* answered by JSON */
        WORD_SIGNAL = 'k', /* with a signal's number */
        WORD_FORGET = 'x',
};

/* A host that is attached. */
struct reader {
        struct guest_channel channel; /* its fd is owned; FD_NONE: free */
        bool is_quiet, is_told;       /* EXIT was sent */
        uint64_t at;
        uint32_t credit[GUEST_N_STREAMS];
};

struct keeper {
        char id[KEEPER_ID_BYTES * 2 + 1];
        char *path, *command; /* owned */
        int listener;         /* owned */
        struct guest_channel session;
        struct ring ring;
        uint32_t owed[GUEST_N_STREAMS];
        struct reader readers[KEEPER_READERS];
        bool ended, forgotten;
        uint8_t end[2]; /* EXIT's body */
        uint64_t started_ns, ended_ns;
};

/* Starts the command in a child; 0 once it runs, or has said something or ended; -code: it could not be started. */
int keeper_start_session(struct keeper *keeper, const struct guest_request *request, struct err *err);
/* Takes what the session has said into the ring. After its end (keeper->ended) there is no session any more. */
void keeper_hear_session(struct keeper *keeper);
/* Lets the session say more, unless a reader is so far behind that it would lose something. */
void keeper_give_credit(struct keeper *keeper);

/* After whatever was heard: readers get what is new, the session its credit, and an end that shows only then is told. */
void keeper_settle(struct keeper *keeper);

/* Takes a place among the readers, from the oldest byte that is kept; without one the connection is closed. */
void reader_begin(struct keeper *keeper, int owned_fd, bool is_quiet);
/* Records as far as there is credit for; then the end, when that has come. */
void reader_feed(const struct keeper *keeper, struct reader *reader);
/* A host gives credit, or goes. Everything else it might say ends it. */
void reader_hear(struct reader *reader);
void reader_end(struct reader *reader);
/* Whether it is behind by nearly all of the ring. */
bool reader_is_behind(const struct reader *reader, const struct keeper *keeper);

/* Refuses too many that run (EAGAIN), and forgets the oldest of too many that ended. */
int keepers_make_room(struct err *err);
