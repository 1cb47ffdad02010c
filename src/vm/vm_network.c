#include "vm/vm_network.h"

#include <errno.h>

#include "vm/vm_ledger.h"

struct network_settings vm_network_settings(const struct vm_spec *spec)
{
        return (struct network_settings){
                .helper_socket = spec->helper_socket,
                .bridge = spec->bridge,
                .bridge_ip = spec->bridge_ip,
                .prefix = spec->prefix,
        };
}

int vm_set_nat(const struct vm_spec *spec, struct err *err)
{
        const struct network_settings settings = vm_network_settings(spec);
        struct vm_ledger ledger = { 0 };
        struct network_guest guest;
        int r = vm_ledger_read(spec->folder, &ledger, err);

        if (r < 0)
                return r;
        if (ledger.tap[0] == '\0')
                return err_set(err, ENOTCONN, "vm.nat",
                               "vm '%s' is not running; it is let out when it starts", spec->name);
        guest = (struct network_guest){ ledger.tap, ledger.address, spec->nat, spec->peers };
        return network_set_nat(&settings, &guest, err);
}
