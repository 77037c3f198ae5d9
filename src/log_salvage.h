/*
** log_salvage.h - the id of a log whose header is damaged, found out from its transactions.
**
** Without the id no checksum verifies, so that a bit of it would cost everything behind it. But a
** checksum over the id and the lines of a transaction is also an equation for the id: undone over
** the lines, it gives the state of the CRC behind the id. Where two transactions give the same state
** it is the one; by chance they do once in 2^32. What the id was is not known then, but any other 16
** bytes that lead to the same state verify the same transactions.
*/
#ifndef LOG_SALVAGE_H
#define LOG_SALVAGE_H

#include "kv_base.h"
#include "log_format.h"

#include <stdbool.h>

/* Look for transactions in the first LOG_SALVAGE_SIZE_MAX bytes of the open file. If *found, two of
** them verify with id; it stays as it is if it is the one, and otherwise gets bytes that do the same,
** which may be any. KV_EIO (errno tells), KV_ENOMEM. */
#define LOG_SALVAGE_SIZE_MAX ((size_t)4 << 20)
int log_salvage_id(int fd, char id[LOG_ID_SIZE + 1], bool *found);

#endif
