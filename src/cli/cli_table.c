/* Every command there is, in the order of the help (S-032). What cannot be done yet is not listed. */
#include "api/api_daemon.h"
#include "api/api_image.h"
#include "api/api_kernel.h"
#include "api/api_registry.h"
#include "api/api_vm.h"
#include "cli/cli_commands.h"
#include "cli/cli_exec.h"

#define FLAG(text_name, letter, text)                                                               \
        {                                                                                           \
                .name = (text_name), .kind = RPC_KIND_BOOL, .short_option = (letter), .doc = (text) \
        }
#define VALUE(text_name, text, ...)                                                      \
        {                                                                                \
                .name = (text_name), .kind = RPC_KIND_STRING, .doc = (text), __VA_ARGS__ \
        }

static const struct rpc_field run_options[] = {
        FLAG("rm", 0, "delete the vm at the end, whatever the end is"),
        FLAG("detach", 'd', "leave the vm running and do not attach; connect later with 'banger vm ssh'"),
        VALUE("branch", "make this branch in the copy and check it out there"),
        VALUE("from", "commit at which the branch of --branch starts (default HEAD); needs --branch"),
        FLAG("include_untracked", 0, "copy untracked files too; ignored ones never travel"),
        FLAG("dry_run", 0, "list what would be copied, and make nothing"),
        FLAG("no_bootstrap", 0, "do not install the tools that .mise.toml or .tool-versions name"),
        CLI_EXEC_OPTIONS,
        RPC_END,
};
static const char *const run_omitted[] = { "no_start", NULL };

static const struct rpc_field login_options[] = {
        FLAG("password_stdin", 0, "read the password or token from standard input"),
        RPC_END,
};
static const char *const login_omitted[] = { "secret", NULL };

static const struct rpc_field exec_options[] = {
        VALUE("guest_path",
              "folder to run in (default: from the last workspace prepare, otherwise root's home)",
              .sense = RPC_GUEST_PATH),
        FLAG("detach", 'd', "print an id and do not wait; see 'banger vm session'"),
        FLAG("auto_prepare", 0, "send the repository again first when the host's HEAD has moved"),
        CLI_EXEC_OPTIONS,
        RPC_END,
};
static const struct rpc_field cp_options[] = {
        FLAG("follow", 'L', "copy what a symbolic link named as a source leads to, not the link"),
        VALUE("max_size", "take at most this much from a guest (default: 95 % of the free space)",
              .sense = RPC_BYTES),
        RPC_END,
};
static const struct rpc_field forward_options[] = {
        FLAG("reverse", 'r', "listen in the guest and connect to the host's side"),
        RPC_END,
};
static const struct rpc_field session_kill_options[] = {
        VALUE("signal", "signal for the command and its process group (default TERM)",
              .sense = RPC_SIGNAL_NAME),
        RPC_END,
};
static const struct rpc_field logs_options[] = {
        FLAG("follow", 'f', "go on as it grows, until interrupted"),
        VALUE("lines", "only the last so many lines", .short_option = 'n'),
        VALUE("since", "only what was written since then: 10m, 2h30m, or 2026-04-28T20:45:50Z"),
        FLAG("console", 0, "the guest's console (the default)"),
        FLAG("vmm", 0, "the log of the VMM instead of the guest's console"),
        RPC_END,
};
static const char *const logs_omitted[] = { "since_ns", NULL };

static const struct rpc_field create_options[] = {
        FLAG("detach", 'd',
             "print the operation's id and leave the rest to bangerd; see 'banger operations'"),
        RPC_END,
};
static const struct rpc_field operations_options[] = {
        FLAG("all", 'a', "those too that ended in the last minutes"),
        VALUE("cancel", "end this create (its operation id) and undo what it has made"),
        RPC_END,
};
static const struct rpc_field prune_options[] = {
        FLAG("force", 'f', "delete without asking"),
        RPC_END,
};
static const struct rpc_field vms_options[] = {
        VALUE("label", "only those with this label: team, or team=infra"),
        RPC_END,
};
static const char *const pull_omitted[] = { "input", "source", NULL };
static const struct rpc_field build_options[] = {
        VALUE("name", "name of the image (default: the folder's)", .short_option = 't',
              .sense = RPC_IMAGE_NAME),
        VALUE("file", "the Dockerfile (default: Dockerfile or Containerfile in the folder)",
              .short_option = 'f'),
        VALUE("build_arg", "value of an ARG of the Dockerfile, NAME=VALUE; may be repeated", .repeats = true),
        VALUE("target", "stage to stop at"),
        FLAG("no_network", 0, "let the build reach nothing: no registry, no packages"),
        {.name = "vcpu",
                                                                                    .kind = RPC_KIND_U32,
                                                                                    .doc = "virtual processors of the vm that builds",
                                                                                    .min = 1,
                                                                                    .max = 32 },
        { .name = "memory",             .kind = RPC_KIND_U64,    .sense = RPC_MIB, .doc = "its memory, as 4G"},
        { .name = "disk_size",
                                                                                    .kind = RPC_KIND_U64,
                                                                                    .sense = RPC_BYTES,
                                                                                    .doc = "its disk, which holds the folder, each stage and the result, as 20G"                                                         },
        { .name = "size",
                                                                                    .kind = RPC_KIND_U64,
                                                                                    .sense = RPC_BYTES,
                                                                                    .doc = "size of the image's root file system (default: by its content)"                                                         },
        RPC_END,
};
static const struct rpc_field top_options[] = {
        FLAG("once", 0, "print one table and end; so it is without a terminal"),
        VALUE("interval", "time between two looks (default 2s)"),
        VALUE("sort", "cpu (default), memory, disk, network or name"),
        RPC_END,
};
static const struct rpc_field ports_options[] = {
        FLAG("no_probe", 0, "do not try which of them answer HTTP"),
        RPC_END,
};
static const struct rpc_field list_options[] = {
        FLAG("available", 'a', "only what can be pulled"),
        RPC_END,
};
static const struct rpc_field force_options[] = {
        FLAG("force", 'f', "without asking"),
        RPC_END,
};
static const struct rpc_field df_options[] = {
        FLAG("verbose", 'v', "each image, kernel, vm and cache"),
        RPC_END,
};
static const struct rpc_field doctor_options[] = {
        FLAG("verbose", 'v', "show every check with its details"),
        RPC_END,
};

const struct cli_command cli_commands[] = {
        {.words = "vm",
         .doc = "Make, use and remove virtual machines",
         .details = "A vm has its own kernel, disk and address; what is in it can be ruined. 'vm run' does "
                     "it all in one\n"
                     "step; the others are its parts. A vm stays until it is deleted, and its disk survives "
                     "stop and start.", .examples = "banger vm run                          a shell in a new vm\n"
                      "banger vm run ./repo -- make test      a repository, one command\n"
                      "banger vm exec my-vm -- make test      again, in the vm that is there\n"
                      "banger vm ssh my-vm                    a shell in it\n"
                      "banger vm stop my-vm                   keep its disk, free its memory\n"
                      "banger vm delete my-vm                 remove it for good" },
        { .words = "vm run",
         .doc = "Make a vm and use it: a repository, a command, or a shell",
         .details =
                  "With a path, the git repository there is copied to /root/repo: history, tracked files and "
                  "your\n"
                  "uncommitted changes to them. With a command, its input, output, errors and exit status "
                  "are as if it\n"
                  "had run here. Without one you get a shell. The vm stays afterwards unless --rm is given.", .examples = "banger vm run\n"
                      "banger vm run --rm -- uname -a\n"
                      "banger vm run --rm --image alpine:3.20 -- cat /etc/os-release\n"
                      "banger vm run ./repo -- make test\n"
                      "banger vm run --rm --nat --memory 4GiB ./repo -- sh -c 'npm ci && npm test'\n"
                      "banger vm run -d --name web ./repo", .method = &api_vm_create,
         .omitted = run_omitted,
         .options = run_options,
         .operands = { "path" },
         .takes_command = true,
         .run = cmd_vm_run },
        { .words = "vm create",
         .doc = "Make a vm and start it",
         .details = "Interrupted (Ctrl-C), it undoes what it has made. With --detach it prints the id of "
                     "the operation and\n"
                     "returns; 'banger operations' then shows how far it is, and its --cancel undoes it.", .examples = "banger vm create --name web --vcpu 2 --memory 2GiB\n"
                      "banger vm create --peers --name db\n"
                      "banger vm create --disk-bandwidth 20M --disk-iops 500\n"
                      "banger vm create -d --name web && banger operations", .method = &api_vm_create,
         .options = create_options,
         .has_json = true,
         .run = cmd_vm_create },
        { .words = "vm start",
         .doc = "Start stopped vms",
         .examples = "banger vm start web\nbanger vm start --force big",
         .method = &api_vm_start,
         .operands = { "vm" },
         .n_required = 1,
         .takes_many = true,
         .run = cmd_vm_start },
        { .words = "vm stop",
         .doc = "Stop vms; what their guests wrote is kept",
         .examples = "banger vm stop web\nbanger vm start web",
         .method = &api_vm_stop,
         .operands = { "vm" },
         .n_required = 1,
         .takes_many = true,
         .run = cmd_vm_stop },
        { .words = "vm restart",
         .doc = "Stop vms and start them again",
         .examples = "banger vm restart web",
         .method = &api_vm_restart,
         .operands = { "vm" },
         .n_required = 1,
         .takes_many = true,
         .run = cmd_vm_restart },
        { .words = "vm kill",
         .doc = "End vms at once, without asking their guests",
         .examples = "banger vm kill web\nbanger vm kill --signal TERM web",
         .method = &api_vm_kill,
         .operands = { "vm" },
         .n_required = 1,
         .takes_many = true,
         .run = cmd_vm_kill },
        { .words = "vm delete",
         .alias = "rm",
         .doc = "Stop vms and remove their disks; this cannot be undone",
         .examples = "banger vm delete web",
         .method = &api_vm_delete,
         .operands = { "vm" },
         .n_required = 1,
         .takes_many = true,
         .run = cmd_vm_delete },
        { .words = "vm set",
         .doc = "Change a vm: size, network, limits, name, labels",
         .details = "NAT, limits, name and labels change at once; 'off' lifts a limit. A running vm gets "
                     "processors, memory,\ndisk size and host name at its next start, and is told so; so "
                     "does one on QEMU a first limit of its network.\nA work disk only grows; its guest "
                     "grows the file system in it.", .examples = "banger vm set web --memory 4GiB --vcpu 4\n"
                      "banger vm set web --disk-size 32GiB && banger vm restart web\n"
                      "banger vm set web --nat off\n"
                      "banger vm set web --disk-bandwidth 20M --net-bandwidth off\n"
                      "banger vm set web --name api --label team=infra,tier=", .method = &api_vm_set,
         .operands = { "vm" },
         .n_required = 1,
         .has_json = true,
         .run = cmd_vm_set },
        { .words = "vm prune",
         .doc = "Delete all vms that do not run",
         .details = "Shows them and asks first; -f does not. VMs in the states created, stopped and error "
                     "go, of "
                     "the whole\n"
                     "installation, with their disks.", .examples = "banger vm prune\nbanger vm prune -f",
         .options = prune_options,
         .run = cmd_vm_prune },
        { .words = "vm list",
         .alias = "ls",
         .doc = "List all vms",
         .examples = "banger vm list\nbanger vm list --label team=infra\nbanger vm list --json | jq -r "
                      "'.[].name'", .options = vms_options,
         .has_json = true,
         .run = cmd_vm_list },
        { .words = "vm show",
         .doc = "Show one vm as JSON",
         .examples = "banger vm show web",
         .method = &api_vm_show,
         .operands = { "vm" },
         .n_required = 1,
         .run = cmd_vm_show },
        { .words = "vm exec",
         .doc = "Run a command in a running vm",
         .details = "It runs in the vm's workspace when it has one, else in root's home, by a login shell "
                     "and with the\n"
                     "tools that mise manages. Input, output, errors and exit status are the command's. A "
                     "command "
                     "that is not\n"
                     "done after --timeout gets SIGTERM, after 2 seconds SIGKILL, and so does all it "
                     "started; the "
                     "status is 124.", .examples = "banger vm exec web -- make test\n"
                      "banger vm exec --auto-prepare web -- make test\n"
                      "banger vm exec --timeout 10m -e CI=1 -w /srv web -- ./check.sh\n"
                      "banger vm exec --user nobody web -- id\n"
                      "tar -c data | banger vm exec --guest-path /srv web -- tar -x", .options = exec_options,
         .operands = { "vm" },
         .n_required = 1,
         .takes_command = true,
         .run = cmd_vm_exec },
        { .words = "vm cp",
         .doc = "Copy files between this host and a running vm",
         .details =
                  "A guest's path is written vm:path; a relative one begins at root's home. Patterns for the "
                  "guest are quoted.\n"
                  "Into a folder that is there when the destination is one, else under its name; 'dir/.' "
                  "means "
                  "what is in it.\n"
                  "'-' is a tar stream. Modes, times, links, holes and user attributes are kept, set-user-ID "
                  "bits "
                  "are not. What\n"
                  "arrives belongs to root in a guest and to you here. A file is there when it is whole.", .examples = "banger vm cp ./data web:/srv\n"
                      "banger vm cp web:/etc/os-release .\n"
                      "banger vm cp 'web:/var/log/*.log' logs/\n"
                      "banger vm cp site/. web:/var/www\n"
                      "banger vm cp web:/srv - | tar -t\n"
                      "tar -c . | banger vm cp - web:/srv", .options = cp_options,
         .operands = { "path" },
         .n_required = 1,
         .takes_many = true,
         .run = cmd_vm_cp },
        { .words = "vm port-forward",
         .doc = "Lead ports and sockets of this host into a running vm, or back",
         .details = "Each forward is HOST:GUEST, where a side is a port (on 127.0.0.1), an IP address with "
                     "a port, or "
                     "the path of\n"
                     "a UNIX socket; port 0 takes a free one. The host's side listens, with --reverse the "
                     "guest's. It "
                     "goes through\n"
                     "the agent: the guest needs no network. It prints what listens, and runs until it is "
                     "interrupted.", .examples = "banger vm port-forward web 8080:80\n"
                      "banger vm port-forward web 0:5432 0.0.0.0:8443:127.0.0.1:443\n"
                      "banger vm port-forward web /tmp/docker.sock:/var/run/docker.sock\n"
                      "banger vm port-forward --reverse web 3128:3128", .options = forward_options,
         .operands = { "vm", "forward" },
         .n_required = 2,
         .takes_many = true,
         .has_json = true,
         .run = cmd_vm_forward },
        { .words = "vm session",
         .doc = "Look after commands that were started with 'vm exec -d'",
         .details = "Such a command runs in the guest whatever becomes of banger here. It has no input. The "
                     "guest keeps "
                     "the last MiB\n"
                     "of its output, and its exit status, also after its end: of the last 32 that ended.", .examples = "banger vm exec -d web -- make test\n"
                      "banger vm session list web\n"
                      "banger vm session attach web 3f9c01ab" },
        { .words = "vm session list",
         .alias = "ls",
         .doc = "List the detached commands of a running vm",
         .examples = "banger vm session list web\nbanger vm session list --json web",
         .operands = { "vm" },
         .n_required = 1,
         .has_json = true,
         .run = cmd_vm_session_list },
        { .words = "vm session attach",
         .doc = "Show a detached command's output until it ends, and end with its status",
         .details = "What it said so far comes first. Ctrl-C lets go of it; it goes on.",
         .examples = "banger vm session attach web 3f9c01ab",
         .operands = { "vm", "session" },
         .n_required = 2,
         .run = cmd_vm_session_attach },
        { .words = "vm session wait",
         .doc = "Wait until a detached command ends, and end with its status",
         .examples = "banger vm session wait web 3f9c01ab && echo passed",
         .operands = { "vm", "session" },
         .n_required = 2,
         .run = cmd_vm_session_wait },
        { .words = "vm session kill",
         .doc = "Send a detached command a signal",
         .examples =
                  "banger vm session kill web 3f9c01ab\nbanger vm session kill --signal KILL web 3f9c01ab", .options = session_kill_options,
         .operands = { "vm", "session" },
         .n_required = 2,
         .run = cmd_vm_session_kill },
        { .words = "vm ssh",
         .doc = "Open a shell in a running vm",
         .details = "By ssh, with banger's own key and known hosts, where the guest has an sshd; else "
                     "through its agent.", .examples = "banger vm ssh web",
         .operands = { "vm" },
         .n_required = 1,
         .run = cmd_vm_ssh },
        { .words = "vm pause",
         .doc = "Let running vms stand still; they keep their memory and take no processor",
         .examples = "banger vm pause web\nbanger vm resume web",
         .method = &api_vm_pause,
         .operands = { "vm" },
         .n_required = 1,
         .takes_many = true,
         .run = cmd_vm_pause },
        { .words = "vm resume",
         .doc = "Let paused vms go on, with their clocks set right",
         .examples = "banger vm resume web",
         .method = &api_vm_resume,
         .operands = { "vm" },
         .n_required = 1,
         .takes_many = true,
         .run = cmd_vm_resume },
        { .words = "vm stats",
         .doc = "Show what vms use, as JSON",
         .details = "An object for each: processor time and memory that its VMM takes on this host, what "
                     "its disks promise "
                     "and take,\n"
                     "what went over its network, and, while it runs, the guest's own word: memory, "
                     "pressure, disks, load. "
                     "The guest's\n"
                     "numbers are checked and bounded, but only the guest knows whether they are true.", .examples = "banger vm stats web\n"
                      "banger vm stats web db | jq '{name, rss: .vmm.resident_bytes}'\n"
                      "banger vm stats web | jq .guest.pressure", .method = &api_vm_stats,
         .operands = { "vm" },
         .n_required = 1,
         .takes_many = true,
         .run = cmd_vm_stats },
        { .words = "vm top",
         .doc = "Show what running vms use, live",
         .details = "Keys: c processor, m memory, d disk, t network, n name (what it is sorted by), q the "
                     "end. Without a terminal "
                     "it prints\n"
                     "one table and ends.", .examples = "banger vm top\n"
                      "banger vm top --interval 5s web db\n"
                      "banger vm top --once --sort memory", .options = top_options,
         .operands = { "vm" },
         .takes_many = true,
         .run = cmd_vm_top },
        { .words = "vm ports",
         .doc = "List what listens in running vms, with links to what answers HTTP",
         .details =
                  "A listener that this host can reach is asked over the network for 'HEAD /', all at the "
                  "same time and for at most two seconds;\n"
                  "those that answer HTTP get a link. What listens on the guest's loopback alone gets none.", .examples = "banger vm ports web\n"
                      "banger vm ports --json web | jq '.[].listeners[] | select(.url) | .url'", .method = &api_vm_ports,
         .options = ports_options,
         .operands = { "vm" },
         .n_required = 1,
         .takes_many = true,
         .has_json = true,
         .run = cmd_vm_ports },
        { .words = "vm ping",
         .doc = "Tell whether the agents of running vms answer, and how fast",
         .examples = "banger vm ping web\nuntil banger vm ping web 2>/dev/null; do sleep 1; done",
         .method = &api_vm_ping,
         .operands = { "vm" },
         .n_required = 1,
         .takes_many = true,
         .run = cmd_vm_ping },
        { .words = "vm health",
         .doc = "Show whether vms are well, as JSON; the exit status is 1 when one is not",
         .details = "Looks at the VMM, the guest's agent, its systemd, room on its disks, and its clock.",
         .examples = "banger vm health web\nbanger vm health web | jq -r '.problems[]'",
         .method = &api_vm_health,
         .operands = { "vm" },
         .n_required = 1,
         .takes_many = true,
         .run = cmd_vm_health },
        { .words = "vm logs",
         .doc = "Show what a guest wrote to its console",
         .details = "To a terminal goes plain text: what would steer it is taken out. The console has no "
                     "times of its own; --since "
                     "finds the\n"
                     "place to within the time between two looks at the vm (10 s), and shows rather more "
                     "than less.", .examples = "banger vm logs web\nbanger vm logs -f -n 20 web\nbanger vm logs --since 10m "
                      "web\nbanger vm logs --vmm web", .method = &api_vm_logs,
         .omitted = logs_omitted,
         .options = logs_options,
         .operands = { "vm" },
         .n_required = 1,
         .run = cmd_vm_logs },
        { .words = "ps",
         .doc = "List running vms",
         .examples = "banger ps\nbanger ps --json",
         .options = vms_options,
         .has_json = true,
         .run = cmd_ps },
        { .words = "operations",
         .doc = "List what bangerd is doing, how far it is, and for whom",
         .details = "The id of an operation is the one at the end of an error message and in the logs of "
                     "bangerd, of its "
                     "jobs,\nof the root helper and of the guest's agent.", .examples =
                  "banger operations\nbanger operations --all\nbanger operations --cancel op-0123456789ab", .options = operations_options,
         .has_json = true,
         .run = cmd_operations },
        { .words = "image",
         .doc = "Get and remove the images that vms start from",
         .details = "'vm run' pulls the image it needs by itself. 'image list' shows what is here and what "
                     "can be pulled.", .examples = "banger image list\nbanger image pull debian-bookworm\nbanger vm run --image "
                      "debian-bookworm" },
        { .words = "image pull",
         .doc = "Get an image: of the catalog, of a registry, or from a folder or archive",
         .details =
                  "A name that the catalog does not have is an image of a registry, as docker takes it. One "
                  "that "
                  "is here "
                  "is asked\nabout and left as it is when it has not changed. oci:DIR, oci-archive:FILE and "
                  "docker-archive:FILE\n(docker save, podman save) are images that were never pushed; '-' is "
                  "one of either "
                  "kind on standard input.", .examples = "banger image pull debian-bookworm\nbanger image pull alpine:3.20\n"
                      "banger image pull --name app --size 4GiB ghcr.io/owner/app:1.0\n"
                      "banger image pull docker-archive:./app.tar\n"
                      "docker save app | banger image pull --name app -", .method = &api_image_pull,
         .omitted = pull_omitted,
         .operands = { "image" },
         .n_required = 1,
         .has_json = true,
         .run = cmd_image_pull },
        { .words = "image build",
         .doc = "Build a Dockerfile in a vm and keep the result as an image",
         .details =
                  "The folder is copied into a vm of its own, buildah builds there, and the vm is deleted: "
                  "nothing of the\nbuild runs on this host. .dockerignore counts. What the build says goes "
                  "to standard error. The same folder\nbuilt again replaces the image; vms made from it "
                  "stay as they are.", .examples = "banger image build .\n"
                      "banger image build --name app --build-arg VERSION=1.2 ./app\n"
                      "banger image build -f ./app/Dockerfile.test --target test ./app\n"
                      "banger vm run --rm --image app", .options = build_options,
         .operands = { "path" },
         .n_required = 1,
         .has_json = true,
         .run = cmd_image_build },
        { .words = "image list",
         .alias = "ls",
         .doc = "List the images that are here and those that can be pulled",
         .examples = "banger image list\nbanger image list --json",
         .options = list_options,
         .has_json = true,
         .run = cmd_image_list },
        { .words = "image show",
         .doc = "Show one image as JSON",
         .examples = "banger image show debian-bookworm",
         .method = &api_image_show,
         .operands = { "image" },
         .n_required = 1,
         .has_json = true,
         .run = cmd_image_show },
        { .words = "image register",
         .doc = "Make an image of a root file system on this host",
         .details = "The file stays where it is and is not copied; leave it unchanged while the image is "
                     "there, or let\n'image promote' copy it.", .examples = "banger image register --name mine --rootfs ./rootfs.ext4\n"
                      "banger image register --name own --rootfs ./rootfs.ext4 --kernel ./vmlinux\n"
                      "banger vm run --image mine -- uname -a", .method = &api_image_register,
         .has_json = true,
         .run = cmd_image_register },
        { .words = "image promote",
         .doc = "Copy a registered image into banger's own storage",
         .details = "Afterwards the original file is no longer needed.",
         .examples = "banger image promote mine",
         .method = &api_image_promote,
         .operands = { "image" },
         .n_required = 1,
         .has_json = true,
         .run = cmd_image_promote },
        { .words = "image delete",
         .alias = "rm",
         .doc = "Delete an image that no vm uses",
         .details = "The file of a registered image stays.",
         .examples = "banger image delete debian-bookworm",
         .method = &api_image_delete,
         .operands = { "image" },
         .n_required = 1,
         .has_json = true,
         .run = cmd_image_delete },
        { .words = "image prune",
         .doc = "Delete all images that no vm uses",
         .details = "Shows them and asks first.",
         .examples = "banger image prune\nbanger image prune --force",
         .options = force_options,
         .has_json = true,
         .run = cmd_image_prune },
        { .words = "image cache",
         .doc = "Look after the downloaded layers of images",
         .details = "They only spare downloads: images do not need them once they are made.",
         .examples = "banger image cache prune --dry-run" },
        { .words = "image cache prune",
         .doc = "Remove the downloaded layers of images",
         .examples = "banger image cache prune --dry-run\nbanger image cache prune",
         .method = &api_image_cache_prune,
         .has_json = true,
         .run = cmd_image_cache_prune },
        { .words = "registry",
         .doc = "Log in to registries of images",
         .details = "What docker and podman are logged in to is used too.",
         .examples = "banger registry login ghcr.io -u me\nbanger registry logout ghcr.io" },
        { .words = "registry login",
         .doc = "Keep a login for a registry, once the registry has taken it",
         .details = "The password or token is asked for on the terminal, or read from standard input; it is "
                     "never a "
                     "word of the\ncommand line. It is kept in the file registries.json of banger's state "
                     "folder, "
                     "which only its owner reads.", .examples = "banger registry login ghcr.io -u me\n"
                      "cat token | banger registry login ghcr.io -u me --password-stdin", .method = &api_registry_login,
         .omitted = login_omitted,
         .options = login_options,
         .operands = { "registry" },
         .n_required = 1,
         .run = cmd_registry_login },
        { .words = "registry logout",
         .doc = "Forget the login for a registry",
         .examples = "banger registry logout ghcr.io",
         .method = &api_registry_logout,
         .operands = { "registry" },
         .n_required = 1,
         .run = cmd_registry_logout },
        { .words = "kernel",
         .doc = "Get, import and remove the kernels that vms boot",
         .details = "'vm run' pulls the kernel of its image by itself.",
         .examples = "banger kernel list --available\n"
                      "banger kernel import my-kernel --from ./linux-image.deb\n"
                      "banger vm run --kernel my-kernel -- uname -r" },
        { .words = "kernel pull",
         .doc = "Get a kernel from the catalog",
         .examples = "banger kernel pull debian-6.1",
         .method = &api_kernel_pull,
         .operands = { "kernel" },
         .n_required = 1,
         .has_json = true,
         .run = cmd_kernel_pull },
        { .words = "kernel import",
         .doc = "Take a kernel from a package or from files of this host",
         .examples = "banger kernel import my-kernel --from ./linux-image.deb\n"
                      "banger kernel import plain --from ./vmlinux --modules ./lib/modules/6.1.0", .method = &api_kernel_import,
         .operands = { "kernel" },
         .n_required = 1,
         .has_json = true,
         .run = cmd_kernel_import },
        { .words = "kernel list",
         .alias = "ls",
         .doc = "List the kernels that are here, or those that can be pulled",
         .examples = "banger kernel list\nbanger kernel list --available",
         .options = list_options,
         .has_json = true,
         .run = cmd_kernel_list },
        { .words = "kernel show",
         .doc = "Show one kernel as JSON",
         .examples = "banger kernel show my-kernel",
         .method = &api_kernel_show,
         .operands = { "kernel" },
         .n_required = 1,
         .has_json = true,
         .run = cmd_kernel_show },
        { .words = "kernel delete",
         .alias = "rm",
         .doc = "Delete a kernel that no vm uses",
         .examples = "banger kernel delete my-kernel",
         .method = &api_kernel_delete,
         .operands = { "kernel" },
         .n_required = 1,
         .has_json = true,
         .run = cmd_kernel_delete },
        { .words = "df",
         .doc = "Show what images, kernels, vms and caches take on the disk",
         .details = "SIZE counts holes, ON DISK does not. SHAREABLE is what other files hold too (reflinks "
                     "and hard "
                     "links), and\nis not freed by removing one of them. RECLAIMABLE is what no vm uses.", .examples = "banger df\nbanger df --verbose\nbanger df --json",
         .options = df_options,
         .has_json = true,
         .run = cmd_df },
        { .words = "daemon",
         .doc = "Look after bangerd, which starts by itself when needed",
         .details = "vms live in processes of their own; stopping bangerd does not touch them.",
         .examples = "banger daemon status\nbanger daemon stop" },
        { .words = "daemon status",
         .doc = "Tell whether bangerd answers, and which version",
         .examples = "banger daemon status",
         .has_json = true,
         .run = cmd_daemon_status },
        { .words = "daemon start",
         .doc = "Start bangerd unless it runs",
         .examples = "banger daemon start",
         .run = cmd_daemon_start },
        { .words = "daemon stop",
         .doc = "Stop bangerd; running vms stay alive",
         .examples = "banger daemon stop",
         .run = cmd_daemon_stop },
        { .words = "daemon socket",
         .doc = "Print the path of bangerd's socket",
         .examples = "banger daemon socket",
         .run = cmd_daemon_socket },
        { .words = "doctor",
         .doc = "Check whether this host is fit to run vms",
         .details = "Prints what fails and what is doubtful; exits with 1 when something fails.",
         .examples = "banger doctor\nbanger doctor --verbose",
         .options = doctor_options,
         .has_json = true,
         .run = cmd_doctor },
        { .words = "version",
         .doc = "Print version, commit and time of the build",
         .examples = "banger version\nbanger --version",
         .run = cmd_version },
        { .words = "completion",
         .doc = "Print a script that completes banger's commands in a shell",
         .details = "Shells: bash, zsh, fish.",
         .examples = "source <(banger completion bash)\n"
                      "banger completion zsh > ~/.zfunc/_banger\n"
                      "banger completion fish > ~/.config/fish/completions/banger.fish", .operands = { "shell" },
         .n_required = 1,
         .run = cmd_completion },
        { .words = NULL                                                                                 },
};
