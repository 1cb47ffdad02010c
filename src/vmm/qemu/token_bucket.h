/* Firecracker's token bucket: `size` tokens, as many refilled in refill_time ms, one_time_burst more at the beginning. */
#pragma once

#include <stdint.h>

#include "vmm/contract/vmm_api.h"

struct token_bucket {
        double size, per_ns; /* per_ns 0: no limit */
        double tokens;       /* may be less than nothing: what was taken is known only afterwards */
        double burst;        /* left of one_time_burst */
        uint64_t filled_ns;  /* monotonic: when tokens was right */
};

/* A size or refill_time of 0 is no limit. */
void token_bucket_set(struct token_bucket *bucket, const struct vmm_token_bucket *wish, uint64_t now_ns);
/* Refills. 0: something may pass, however large it is; otherwise the nanoseconds until then. */
uint64_t token_bucket_wait_ns(struct token_bucket *bucket, uint64_t now_ns);
void token_bucket_take(struct token_bucket *bucket, uint64_t amount);
