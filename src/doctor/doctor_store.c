/* Looked at read-only: doctor must not migrate a database that an older daemon still uses. */
#include <stdlib.h>

#include "base/scoped.h"
#include "doctor/doctor_checks.h"
#include "store/store.h"

DOCTOR_CHECK(doctor_store)
{
        scoped_free char *path = layout_join(context->layout->state, "banger.db", NULL);
        scoped_free char *line = NULL;
        enum store_schema schema = STORE_COMPATIBLE;
        struct err err = { 0 };

        if (store_inspect(path, &schema, &line, &err) < 0)
                doctor_fail(result, "%s", err.message);
        else if (schema == STORE_INCOMPATIBLE)
                doctor_fail(result, "%s: %s; install the newer banger again", path, line);
        else
                doctor_pass(result, "%s: %s", path, line);
}
