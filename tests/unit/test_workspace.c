#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/spawn.h"
#include "base/text.h"
#include "unit.h"
#include "workspace/workspace_tar.h"

/*
 * Each case makes a repository with real git, sends it through the very stream a guest gets, unpacks that with GNU tar,
 * and compares what git says on both sides.
 */
#define SCRIPT_HEAD                                                                              \
        "set -e; cd \"$T\"; export HOME=\"$T/home\" GIT_CONFIG_NOSYSTEM=1 LC_ALL=C; umask 022; " \
        "unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE; "
#define NEW_REPO                                                          \
        "git init -q -b main src; cd src; git config user.name 'Ada L'; " \
        "git config user.email ada@example.org; echo one > one; git add one; git commit -qm first; "
#define N_TIMES_OLD "find . -path ./.git -prune -o -type f -exec touch -h -d '2020-01-01' {} +; "

static char folder[64];

static char *run(const char *script)
{
        scoped_free char *whole = xasprintf("T=%s; %s%s", folder, SCRIPT_HEAD, script);
        const char *const argv[] = { "sh", "-c", whole, NULL };
        struct err err = { 0 };
        char *output = NULL;
        int status = spawn_run(argv, 60000, (size_t) 64 << 20, &output, NULL, &err);

        if (status != 0)
                print_message("# script failed: %s\n# %s\n", script, err.message);
        assert_int_equal(status, 0);
        return output;
}

static void do_run(const char *script)
{
        free(run(script));
}

static int setup(void **state)
{
        (void) state;
        (void) snprintf(folder, sizeof(folder), "/tmp/test-workspace-XXXXXX");
        assert_non_null(mkdtemp(folder));
        do_run("mkdir home");
        setenv("HOME", folder, 1);
        setenv("TMPDIR", folder, 1); /* where the private copies are made */
        setenv("GIT_CONFIG_NOSYSTEM", "1", 1);
        return 0;
}

static int teardown(void **state)
{
        struct err err = { 0 };

        (void) state;
        if (file_remove_tree(folder, &err) < 0)
                print_message("# %s\n", err.message);
        return -err.code;
}

static char *in_folder(const char *name)
{
        return xasprintf("%s/%s", folder, name);
}

struct sending {
        const char *path;
        bool include_untracked;
        struct workspace_wish wish;
};

/* Sends folder/path to folder/dst. Returns 0 or -code. */
static int send_here(const struct sending *sending, struct err *err)
{
        scoped_free char *path = in_folder(sending->path);
        scoped_free char *tar = in_folder("stream.tar");
        scoped(workspace_repo_done) struct workspace_repo repo = { 0 };
        scoped(workspace_files_done) struct workspace_files files = { 0 };
        scoped(workspace_copy_done) struct workspace_copy copy = { 0 };
        scoped_close int fd = FD_NONE;
        int r = workspace_inspect(path, &repo, err);

        if (r == 0)
                r = workspace_list_files(&repo, sending->include_untracked, &files, err);
        if (r == 0)
                r = workspace_copy_make(&repo, &sending->wish, &copy, err);
        if (r < 0)
                return r;
        fd = open(tar, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        r = workspace_stream(&repo, &copy, &files, fd, err);
        assert_int_equal(r, 0);
        do_run("rm -rf dst; mkdir dst; tar -x -p -f stream.tar -C dst");
        return 0;
}

static void must_send(const struct sending *sending)
{
        struct err err = { 0 };
        int r = send_here(sending, &err);

        if (r < 0)
                print_message("# %s\n", err.message);
        assert_int_equal(r, 0);
}

static void assert_same_output(const char *script)
{
        scoped_free char *in_source = xasprintf("cd src; %s", script);
        scoped_free char *in_target = xasprintf("cd dst; %s", script);
        scoped_free char *expected = run(in_source);
        scoped_free char *got = run(in_target);

        assert_string_equal(got, expected);
}

/* Status without untracked files (they stay by default), history, tags, branch, what is staged, bytes, modes, health. */
static void assert_same_checkout(void)
{
        assert_same_output("git status --porcelain -uno; git log --format='%H %an %ae %s'; "
                           "git describe --tags --always; git branch --show-current; "
                           "git diff --cached --raw --no-abbrev; git diff --raw --no-abbrev; "
                           "git ls-files -s; git config user.name; git config user.email");
        do_run("cd dst; git fsck --strict >/dev/null 2>&1");
}

struct shape {
        const char *name;
        const char *script;
};

/* version 14 crashes on long strings in a table */
/* clang-format off */
static const struct shape same_shapes[] = {
        { "clean", "" },
        { "changed", "echo two > one" },
        { "changed, same size and second", "echo eno > one; touch -r .git/index one" },
        { "changed with time and size kept",
          "touch -d 2020-01-01 one; git status >/dev/null; echo eno > one; touch -d 2020-01-01 one" },
        { "staged", "echo two > two; git add two" },
        { "staged and changed again", "echo two > one; git add one; echo three > one" },
        { "deleted", "rm one" },
        { "deleted and staged", "echo k > keep; git add keep; git commit -qm k; git rm -q one" },
        { "renamed", "git mv one other" },
        { "intent to add", "echo n > new; git add -N new" },
        { "a folder where a file was", "rm one; mkdir one; echo x > one/x" },
        { "a link where a folder was",
          "mkdir d; echo s > d/f; git add d; git commit -qm d; rm -r d; mkdir ../out; echo secret > ../out/f; "
          "ln -s ../out d" },
        { "odd names",
          "mkdir 'a b'; echo 1 > 'a b/it'\\''s'; echo 2 > '\"q\"'; echo 3 > \"$(printf 'new\\nline')\"; "
          "echo 4 > \"$(printf 'latin-\\351')\"; echo 5 > -T; echo 6 > '--help'; echo 7 > \"$(printf 'utf-\\303\\251')\"; "
          "git add -A; git commit -qm odd; echo 8 >> \"$(printf 'latin-\\351')\"" },
        { "links and modes",
          "ln -s one link; ln -s /nowhere dangling; echo '#!' > run; chmod 755 run; echo g > group; chmod 664 group; "
          "git add -A; git commit -qm modes" },
        { "a mode changed", "chmod 755 one" },
        { "a long path", "p=$(printf 'd%.0s' $(seq 90)); mkdir -p $p/$p/$p; echo x > $p/$p/$p/$p; git add -A; git commit -qm l" },
        { "annotated and light tags", "git tag light; git tag -am v1 v1; echo 2 > one; git commit -qam 2" },
        { "a branch with a slash", "git checkout -q -b feature/x" },
        { "detached", "git checkout -q --detach" },
        { "a conflict",
          "git checkout -q -b b; echo b > one; git commit -qam b; git checkout -q main; echo a > one; "
          "git commit -qam a; git merge b >/dev/null || true" },
        { "packed, with deltas",
          "for i in 1 2 3 4 5; do seq $((i*100)) > one; git commit -qam $i; done; git gc -q" },
        { "line ends", "git config core.autocrlf true; printf 'a\\r\\nb\\r\\n' > crlf; git add crlf 2>/dev/null; git commit -qm crlf" },
        { "a split index", "git update-index --split-index; echo x > x; git add x" },
        { "index version 4", "git update-index --index-version 4; echo x > x; git add x" },
        { "skipped entries", "git update-index --skip-worktree one; rm one" },
        { "an empty file", ": > empty; git add empty; git commit -qm e" },
        { "no identity", "git config --unset user.name; git config --unset user.email; git config user.name x; git config user.email y" },
        { "a name that needs quotes", "git config user.name 'A \"quoted\" \\ name; # x'" },
        { "old times", N_TIMES_OLD "git status >/dev/null" },
        { "sha256", "cd ..; rm -rf src; git init -q --object-format=sha256 -b main src; cd src; git config user.name x; git config user.email y; echo 1 > 1; git add 1; git commit -qm 1; echo 2 > 1" },
        { "a shallow clone",
          "for i in 1 2 3; do echo $i > one; git commit -qam $i; done; cd ..; mv src far; "
          "git clone -q --depth 2 \"file://$T/far\" src; cd src; git config user.name x; git config user.email y; echo z > one" },
        { "a linked worktree",
          "echo w > info-exclude; cd ..; mv src far; cd far; git worktree add -q ../src -b side; cd ../src; echo z > one; git add one" },
        { "borrowed objects",
          "cd ..; mv src far; git clone -q --shared far src; cd src; git config user.name x; git config user.email y" },
};
/* clang-format on */

static void what_git_says_is_the_same_on_both_sides(void **state)
{
        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(same_shapes); i++) {
                scoped_free char *script =
                        xasprintf("rm -rf src far out dst; " NEW_REPO "%s", same_shapes[i].script);

                print_message("# %s\n", same_shapes[i].name);
                do_run(script);
                must_send(&(struct sending){ .path = "src" });
                assert_same_checkout();
        }
}

static void files_come_with_their_bytes_links_and_exec_bits(void **state)
{
        (void) state;
        do_run("rm -rf src; " NEW_REPO "head -c 100000 /dev/urandom > random; ln -s one link; echo x > run; "
               "chmod 755 run; git add -A; git commit -qm all; echo dirty > one");
        must_send(&(struct sending){ .path = "src" });
        assert_same_output("find . -path ./.git -prune -o -type f -exec md5sum {} + | sort");
        assert_same_output("find . -path ./.git -prune -o -printf '%P %y %m %l\\n' | sort | grep -v '^ d'");
        do_run("tar --numeric-owner -tvf stream.tar | awk '{print $2}' | sort -u | grep -vx 0/0 && exit 1 || "
               "true");
}

static void nothing_secret_or_foreign_travels(void **state)
{
        (void) state;
        do_run("rm -rf src out; mkdir out; echo secret > out/f; " NEW_REPO
               "git remote add origin https://user:hunter2@example.org/x.git; "
               "printf '#!/bin/sh\\n' > .git/hooks/post-checkout; chmod 755 .git/hooks/post-checkout; "
               "git checkout -q -b private; echo p > p; git add p; git commit -qm 'private work'; git "
               "checkout -q main; "
               "git config http.extraHeader 'Authorization: hunter2'; "
               "mkdir d; echo s > d/f; git add d; git commit -qm d; rm -r d; ln -s ../out d");
        must_send(&(struct sending){ .path = "src" });
        do_run("! grep -r hunter2 dst; ! grep -r secret dst; test ! -e dst/d; test ! -e "
               "dst/.git/hooks/post-checkout; "
               "cd dst; test -z \"$(git remote)\"; test \"$(git branch -a --format='%(refname)')\" = "
               "refs/heads/main; "
               "! git cat-file --batch-all-objects --batch | grep -q 'private work'");
}

static void programs_that_the_repository_names_do_not_run(void **state)
{
        (void) state;
        do_run("rm -rf src; " NEW_REPO
               "printf '#!/bin/sh\\ntouch \"%s/ran\"; cat\\n' \"$T\" > \"$T/evil\"; chmod 755 \"$T/evil\"; "
               "echo '* filter=evil diff=evil' > .gitattributes; git add .gitattributes; git commit -qm a; "
               "git config core.fsmonitor \"$T/evil\"; git config filter.evil.clean \"$T/evil\"; "
               "git config filter.evil.smudge \"$T/evil\"; git config filter.evil.process \"$T/evil\"; "
               "git config filter.evil.required true; git config diff.external \"$T/evil\"; "
               "git config diff.evil.textconv \"$T/evil\"; git config core.pager \"$T/evil\"; "
               "git config core.hooksPath \"$T\"; cp \"$T/evil\" \"$T/post-index-change\"; "
               "git config core.sshCommand \"$T/evil\"; echo two > one; rm -f \"$T/ran\"");
        must_send(&(struct sending){ .path = "src", .include_untracked = true });
        do_run("test ! -e ran; grep -qx two dst/one");
}

static void untracked_files_come_only_when_asked_and_ignored_ones_never(void **state)
{
        struct err err = { 0 };
        scoped(workspace_repo_done) struct workspace_repo repo = { 0 };
        scoped(workspace_files_done) struct workspace_files files = { 0 };
        scoped_free char *path = in_folder("src");

        (void) state;
        do_run("rm -rf src; " NEW_REPO
               "echo '*.o' > .gitignore; git add .gitignore; git commit -qm i; echo l > .git/info/exclude; "
               "echo 1 > a.o; echo 1 > l; mkdir sub; echo 1 > sub/new; mkfifo pipe; git init -q nested");
        must_send(&(struct sending){ .path = "src" });
        do_run("test ! -e dst/a.o; test ! -e dst/l; test ! -e dst/sub; test ! -e dst/nested");
        must_send(&(struct sending){ .path = "src", .include_untracked = true });
        do_run("test ! -e dst/a.o; test ! -e dst/l; test -e dst/sub/new; test ! -e dst/pipe; test ! -e "
               "dst/nested; "
               "test \"$(cd dst; git status --porcelain)\" = '?? sub/'");
        assert_int_equal(workspace_inspect(path, &repo, &err), 0);
        assert_int_equal(workspace_list_files(&repo, false, &files, &err), 0);
        assert_int_equal(files.n_files, 2);
        assert_true(files.n_untracked >= 1);
}

static void a_new_branch_starts_where_it_was_asked_to(void **state)
{
        (void) state;
        do_run("rm -rf src; " NEW_REPO "echo 2 > one; git commit -qam second; echo 3 > one");
        must_send(&(struct sending){ .path = "src", .wish = { .branch = "try/this" } });
        do_run("cd dst; test \"$(git branch --show-current)\" = try/this; test \"$(git log --format=%s | "
               "head -1)\" = second; "
               "test \"$(git status --porcelain)\" = ' M one'");
        must_send(&(struct sending){
                .path = "src", .wish = {.branch = "old", .from = "HEAD~1"}
        });
        do_run("cd dst; test \"$(git log --format=%s)\" = first; test \"$(cat one)\" = 3; git fsck --strict "
               "2>/dev/null");
}

struct refusal {
        const char *script, *path, *branch, *from, *says;
};

/* version 14 crashes on long strings in a table */
/* clang-format off */
static const struct refusal refusals[] = {
        { "", "missing", NULL, NULL, "No such file" },
        { "touch file", "file", NULL, NULL, "not a folder" },
        { "mkdir plain", "plain", NULL, NULL, "not inside a git repository" },
        { "git init -q --bare bare", "bare", NULL, NULL, "bare repository" },
        { "git init -q empty", "empty", NULL, NULL, "no commit yet" },
        { NEW_REPO, "src/.git", NULL, NULL, "no working tree" },
        { NEW_REPO "cd ..; git init -q -b main outer; cd outer; git -c protocol.file.allow=always submodule add -q ../src sub; "
                   "git -c user.name=x -c user.email=y commit -qm s",
          "outer", NULL, NULL, "submodules" },
        { NEW_REPO "mkdir in; git config core.worktree \"$T\"", "src/in", NULL, NULL, "core.worktree" },
        { NEW_REPO, "src", "bad..name", NULL, "not a name for a branch" },
        { NEW_REPO, "src", "-x", NULL, "not a name for a branch" },
        { NEW_REPO, "src", "ok", "nowhere", "names no commit" },
        { NEW_REPO, "src", "ok", "--all", "names no commit" },
        { NEW_REPO "git config extensions.partialClone origin; git config core.repositoryFormatVersion 1", "src", NULL, NULL, "partial clone" },
};
/* clang-format on */

static void what_cannot_be_sent_is_refused_with_the_way_out(void **state)
{
        (void) state;
        for (size_t i = 0; i < N_ELEMENTS(refusals); i++) {
                const struct refusal *refusal = &refusals[i];
                scoped_free char *script =
                        xasprintf("rm -rf src far out dst outer empty bare; %s", refusal->script);
                struct err err = { 0 };

                print_message("# %s\n", refusal->says);
                do_run(script);
                assert_true(
                        send_here(
                                &(struct sending){
                                        .path = refusal->path, .wish = {refusal->branch, refusal->from}
                },
                                &err) < 0);
                print_message("# -> %s\n", err.message);
                assert_non_null(strstr(err.message, refusal->says));
        }
        do_run("test -z \"$(ls -d banger-workspace-* 2>/dev/null)\"");
}

/* A change that keeps time and size shows that the first status believed the index and read nothing. */
static void a_first_status_of_many_files_is_clean_and_reads_none(void **state)
{
        (void) state;
        do_run("rm -rf src; " NEW_REPO "mkdir many; "
               "seq -f many/f%g 10000 | xargs -n 500 sh -c 'echo same | tee \"$@\" >/dev/null' "
               "sh; " N_TIMES_OLD "git add -A; git commit -qm many");
        must_send(&(struct sending){ .path = "src" });
        do_run("cd dst; f=many/f731; t=$(stat -c %Y $f); s=$(stat -c %s $f); head -c $s /dev/zero | tr '\\0' "
               "x > $f; "
               "touch -d @$t $f; test -z \"$(git status --porcelain)\"; test \"$(git ls-files many | wc "
               "-l)\" = 10000");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_git_says_is_the_same_on_both_sides),
                cmocka_unit_test(files_come_with_their_bytes_links_and_exec_bits),
                cmocka_unit_test(nothing_secret_or_foreign_travels),
                cmocka_unit_test(programs_that_the_repository_names_do_not_run),
                cmocka_unit_test(untracked_files_come_only_when_asked_and_ignored_ones_never),
                cmocka_unit_test(a_new_branch_starts_where_it_was_asked_to),
                cmocka_unit_test(what_cannot_be_sent_is_refused_with_the_way_out),
                cmocka_unit_test(a_first_status_of_many_files_is_clean_and_reads_none),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
