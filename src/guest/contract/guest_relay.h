/* A stream socket joined to a connection of DATA frames, for forwarded ports. Both ends of the wall run the same. */
#pragma once

/*
 * Until both directions have ended. The end of one direction (shutdown(2), an empty frame) leaves the other as it is, a reader that
 * does not read holds up its own direction only, and an abort on one side is one on the other. Both descriptors are borrowed;
 * sock becomes non-blocking. 0, or -errno of what cut it off.
 */
int guest_relay(int fd, int sock);
