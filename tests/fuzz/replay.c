/*
 * Runs one fuzz target over every file of its corpus, without libFuzzer: what fuzzing once found stays found in
 * the ordinary build. Usage: replay_NAME CORPUS_FOLDER. An empty or missing corpus is a failure: nothing was tested.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/file.h"
#include "base/text.h"

#define REPLAY_FILE_MAX ((size_t) 64 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int replay_file(const char *path)
{
        struct err err = { 0 };
        scoped_free char *text = NULL;
        scoped_free uint8_t *exact = NULL;
        size_t n = 0;

        if (file_read(path, REPLAY_FILE_MAX, &text, &n, &err) < 0) {
                (void) fprintf(stderr, "%s\n", err.message);
                return 1;
        }
        /* Without file_read's closing NUL, so that the address sanitizer sees a read past the end. */
        exact = xmalloc(n > 0 ? n : 1);
        for (size_t i = 0; i < n; i++)
                exact[i] = (uint8_t) text[i];
        return LLVMFuzzerTestOneInput(exact, n) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
        struct dirent **entries = NULL;
        int n_entries, n_files = 0, failed = 0;

        if (argc != 2 || (n_entries = scandir(argv[1], &entries, NULL, alphasort)) < 0) {
                (void) fprintf(stderr, "usage: %s CORPUS_FOLDER (which must exist)\n", argv[0]);
                return 2;
        }
        for (int i = 0; i < n_entries; i++) {
                if (entries[i]->d_name[0] != '.') {
                        scoped_free char *path = xasprintf("%s/%s", argv[1], entries[i]->d_name);

                        failed |= replay_file(path);
                        n_files++;
                }
                free(entries[i]);
        }
        free(entries);
        (void) printf("%d files replayed\n", n_files);
        return failed || n_files == 0 ? 1 : 0;
}
