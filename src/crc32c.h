/*
** crc32c.h - CRC-32C (Castagnoli, polynomial 0x1EDC6F41 reflected), as in iSCSI, ext4 and RocksDB.
**
** The check value of "123456789" is 0xe3069283. Threads: any.
*/
#ifndef CRC32C_H
#define CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The CRC of size bytes that follow a run whose CRC is `crc` (0 for the empty run), so that
** crc32c(crc32c(0, a), b) == crc32c(0, a followed by b). */
uint32_t crc32c(uint32_t crc, const void *data, size_t size);

/* The same without special instructions: what crc32c is on a machine that lacks them, and what the
** tests compare it with. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t size);

/* Undo one byte: given crc = crc32c(before, &byte, 1), return before. The register is returned in
** the same finished form that crc32c uses. Used to find where a run of known CRC began. */
uint32_t crc32c_unstep(uint32_t crc, unsigned char byte);

#endif
