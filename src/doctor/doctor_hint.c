/* How things are installed on this distribution. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/file.h"
#include "base/scoped.h"
#include "base/text.h"
#include "doctor/doctor_checks.h"

#define OS_RELEASE_MAX 65536

static const struct {
        const char *id;
        enum doctor_distribution distribution;
} families[] = {
        {"debian",   DOCTOR_DEBIAN},
        { "ubuntu",  DOCTOR_DEBIAN},
        { "fedora",  DOCTOR_FEDORA},
        { "rhel",    DOCTOR_FEDORA},
        { "arch",    DOCTOR_ARCH  },
        { "manjaro", DOCTOR_ARCH  },
        { "nixos",   DOCTOR_NIXOS },
};

static enum doctor_distribution family_of(const char *id)
{
        for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
                if (strcmp(id, families[i].id) == 0)
                        return families[i].distribution;
        return DOCTOR_OTHER;
}

/* The first known of the words in a value, which may be quoted: ID_LIKE="ubuntu debian". */
static enum doctor_distribution family_of_words(char *value)
{
        enum doctor_distribution found = DOCTOR_OTHER;
        char *rest = NULL;

        for (char *word = strtok_r(value, " \t\"'", &rest); word && found == DOCTOR_OTHER;
             word = strtok_r(NULL, " \t\"'", &rest))
                found = family_of(word);
        return found;
}

enum doctor_distribution doctor_distribution_find(const char *os_release)
{
        enum doctor_distribution by_id = DOCTOR_OTHER, by_like = DOCTOR_OTHER;
        scoped_free char *text = NULL;
        struct err unknown = { 0 };
        char *rest = NULL;

        if (file_read(os_release, OS_RELEASE_MAX, &text, NULL, &unknown) < 0)
                return DOCTOR_OTHER;
        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
                if (text_starts_with(line, "ID="))
                        by_id = family_of_words(line + strlen("ID="));
                else if (text_starts_with(line, "ID_LIKE="))
                        by_like = family_of_words(line + strlen("ID_LIKE="));
        }
        return by_id != DOCTOR_OTHER ? by_id : by_like;
}

static const char *const packages[DOCTOR_N_PACKAGES][DOCTOR_N_DISTRIBUTIONS] = {
        [DOCTOR_PACKAGE_QEMU] = {"qemu-system-x86", "qemu-system-x86", "qemu-system-x86", "qemu",
                                 "QEMU for x86-64"                                                               },
        [DOCTOR_PACKAGE_GIT] = { "git",            "git",             "git",             "git",        "git"    },
        [DOCTOR_PACKAGE_TAR] = { "tar",            "tar",             "tar",             "gnutar",     "GNU tar"},
        [DOCTOR_PACKAGE_SSH] = { "openssh-client", "openssh-clients", "openssh",         "openssh",
                                 "the OpenSSH client"                                                            },
        [DOCTOR_PACKAGE_MMDEBSTRAP] = { "mmdebstrap",     "mmdebstrap",      "mmdebstrap",      "mmdebstrap",
                                 "mmdebstrap"                                                                    },
};

static const char *const commands[] = { "sudo apt-get install ", "sudo dnf install ", "sudo pacman -S ",
                                        "nix-env -iA nixos.", "install " };
static_assert(sizeof(commands) / sizeof(commands[0]) == DOCTOR_N_DISTRIBUTIONS,
              "a command for every distribution");

char *doctor_install_hint(enum doctor_distribution distribution, enum doctor_package package)
{
        return xasprintf("%s%s", commands[distribution], packages[package][distribution]);
}

#define RELEASES "https://github.com/firecracker-microvm/firecracker/releases"

const char *doctor_firecracker_hint(enum doctor_distribution distribution)
{
        static const char debian[] = "sudo apt-get install firecracker, where it is packaged; else " RELEASES;
        static const char *const hints[] = {
                [DOCTOR_DEBIAN] = debian,
                [DOCTOR_FEDORA] = RELEASES,
                [DOCTOR_ARCH] = "paru -S firecracker-bin",
                [DOCTOR_NIXOS] = "nix-env -iA nixos.firecracker",
                [DOCTOR_OTHER] = RELEASES,
        };
        static_assert(sizeof(hints) / sizeof(hints[0]) == DOCTOR_N_DISTRIBUTIONS,
                      "a hint for every distribution");

        return hints[distribution];
}
