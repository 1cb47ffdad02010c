#include <string.h>

#include "doctor/doctor_checks.h"

DOCTOR_CHECK(doctor_architecture)
{
        if (strcmp(context->machine, "x86_64") == 0)
                doctor_pass(result, "x86_64");
        else
                doctor_fail(result, "this host is %s; banger runs on x86_64", context->machine);
}
