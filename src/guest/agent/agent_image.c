#include "guest/agent/agent_image.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/json.h"
#include "base/scoped.h"
#include "base/text.h"

#define OP "agent.image"

static json_t *the_image; /* of this guest, from its boot to its end */

void agent_image_set(const json_t *image)
{
        json_decref(the_image);
        the_image = json_is_object(image) ? json_deep_copy(image) : NULL;
}

static size_t count(const char *const *strings)
{
        size_t n = 0;

        while (strings && strings[n])
                n++;
        return n;
}

static bool is_set(const char *const *env, const char *variable)
{
        size_t n = strcspn(variable, "=") + 1;

        for (; env && *env; env++)
                if (strncmp(*env, variable, n) == 0)
                        return true;
        return false;
}

/* The image's variables, then the request's; what the request sets is not set twice. */
static const char **join_env(const char *const *own)
{
        const json_t *theirs = json_object_get(the_image, "env"), *item = NULL;
        const char **env = xcalloc(json_array_size(theirs) + count(own) + 1, sizeof(*env));
        size_t i, n = 0;

        json_array_foreach (theirs, i, item) {
                const char *variable = json_string_value(item);

                if (variable && strchr(variable, '=') && variable[0] != '=' && !is_set(own, variable) &&
                    !is_set(env, variable))
                        env[n++] = variable;
        }
        for (; own && *own; own++)
                env[n++] = *own;
        return env;
}

static size_t add_list(const char **argv, const char *key)
{
        const json_t *item = NULL;
        size_t i, n = 0;

        json_array_foreach (json_object_get(the_image, key), i, item)
                if (json_is_string(item))
                        argv[n++] = json_string_value(item);
        return n;
}

/* image-spec config.md, as docker run has it: the entrypoint, then the given words, or the command when none are given. */
static const char **join_command(const char *const *own)
{
        size_t n = json_array_size(json_object_get(the_image, "entrypoint")) +
                   json_array_size(json_object_get(the_image, "cmd")) + count(own);
        const char **argv = xcalloc(n + 1, sizeof(*argv));

        n = add_list(argv, "entrypoint");
        if (!own)
                (void) add_list(argv + n, "cmd");
        else
                memcpy(argv + n, own, count(own) * sizeof(*argv));
        return argv;
}

static const char *text_or_null(const char *key)
{
        const char *text = json_text(the_image, key);

        return *text != '\0' ? text : NULL;
}

/* Where nothing says another, containers run in the root. */
static void fill_folder(struct guest_request *request)
{
        struct err ignored = { 0 };

        if (request->path)
                return;
        request->path = text_or_null("working_dir");
        if (request->path)
                (void) file_make_folders(request->path, 0755, &ignored);
        else
                request->path = "/";
}

/* Nobody but root may enter root's home, where workspaces are: what runs there runs as root unless it was asked otherwise. */
static bool is_roots(const char *folder)
{
        return folder && text_starts_with(folder, "/root") && strchr("/", folder[strlen("/root")]);
}

int agent_image_fill(const struct guest_request *request, struct agent_image_request *ret_filled,
                     struct err *err)
{
        struct guest_request *filled = &ret_filled->request;

        *ret_filled = (struct agent_image_request){ .request = *request };
        if (!the_image || request->image == GUEST_IMAGE_IGNORED)
                return 0;
        filled->env = ret_filled->env = join_env(request->env);
        filled->login_shell = false; /* a login sets PATH anew, and the image has its own */
        if (request->image == GUEST_IMAGE_SHELL)
                return 0;
        fill_folder(filled);
        if (!filled->user && !is_roots(request->path))
                filled->user = text_or_null("user");
        if (request->image != GUEST_IMAGE_RUN)
                return 0;
        filled->argv = ret_filled->argv = join_command(request->argv);
        return filled->argv[0]
                       ? 0
                       : err_set(err, ENOENT, OP, "the image names no command to run; give one after '--'");
}

void agent_image_request_done(struct agent_image_request *filled)
{
        free(filled->argv);
        free(filled->env);
        *filled = (struct agent_image_request){ 0 };
}

/* "SIGINT", "INT", "2", "RTMIN+3" (image-spec config.md, StopSignal). */
int agent_image_stop_signal(void)
{
        const char *name = json_text(the_image, "stop_signal");
        uint64_t number;

        if (text_parse_u64(name, (uint64_t) SIGRTMAX, &number) == 0)
                return number > 0 ? (int) number : SIGTERM;
        if (strncasecmp(name, "SIG", 3) == 0)
                name += 3;
        if (strncasecmp(name, "RTMIN+", 6) == 0 &&
            text_parse_u64(name + 6, (uint64_t) (SIGRTMAX - SIGRTMIN), &number) == 0)
                return SIGRTMIN + (int) number;
        for (int signal = 1; signal < SIGRTMIN; signal++) {
                const char *known = sigabbrev_np(signal);

                if (known && strcasecmp(known, name) == 0)
                        return signal;
        }
        return SIGTERM;
}
