#include "vmm/qemu/token_bucket.h"

#define NS_PER_MS 1e6

void token_bucket_set(struct token_bucket *bucket, const struct vmm_token_bucket *wish, uint64_t now_ns)
{
        *bucket = (struct token_bucket){ .filled_ns = now_ns };
        if (wish->size == 0 || wish->refill_time == 0)
                return;
        bucket->size = bucket->tokens = (double) wish->size;
        bucket->per_ns = (double) wish->size / ((double) wish->refill_time * NS_PER_MS);
        bucket->burst = (double) wish->one_time_burst;
}

uint64_t token_bucket_wait_ns(struct token_bucket *bucket, uint64_t now_ns)
{
        if (bucket->per_ns == 0 || bucket->burst > 0)
                return 0;
        bucket->tokens += (double) (now_ns - bucket->filled_ns) * bucket->per_ns;
        bucket->filled_ns = now_ns;
        if (bucket->tokens > bucket->size)
                bucket->tokens = bucket->size;
        return bucket->tokens > 0 ? 0 : (uint64_t) (-bucket->tokens / bucket->per_ns) + 1;
}

void token_bucket_take(struct token_bucket *bucket, uint64_t amount)
{
        double rest = (double) amount;

        if (bucket->per_ns == 0)
                return;
        if (bucket->burst > 0) {
                double of_burst = rest < bucket->burst ? rest : bucket->burst;

                bucket->burst -= of_burst;
                rest -= of_burst;
        }
        bucket->tokens -= rest;
}
