/*
** rights.h - whose a file is, and what others may do with it: owner, group, mode, ACL, and the user's
** own extended attributes.
**
** Everything that is made beside a log or in its place (a draft, FILE-shm, a torn tail, a repaired
** log) gets the rights of that log, and a new log beside a database those of the database. Such a
** file is created with mode 0600 and opened up only when owner and group are right, so that nobody
** has more access to it at any moment than to its model. Only root can give a file to another user.
*/
#ifndef RIGHTS_H
#define RIGHTS_H

#include <stdbool.h>
#include <sys/types.h>

typedef struct rights {
  bool known; /* false: none is the model; 0644, less the umask */
  uid_t owner;
  gid_t group;
  mode_t mode; /* the nine bits */
  int fd;      /* the model, for ACL and attributes; -1: these are not copied */
} rights;

/* What the file open as fd has; the fd must stay open as long as *out is used. 0, or -1 and errno. */
int rights_read(int fd, rights *out);

/* The same for a path, without ACL and attributes. The file is not opened. */
int rights_read_path(const char *path, rights *out);

/* The mode to create a file with that rights_give comes to. */
mode_t rights_mode_at_first(const rights *like);

/* Give an open file, which is the caller's own, the rights of the model. *same (may be NULL) tells
** whether it now lets everybody do what the model lets him: if the owner or the group cannot be given,
** access is narrowed where it would have been widened. 0, or -1 and errno. */
int rights_give(int fd, const rights *like, bool *same);

#endif
