/*
** coverage_dump.c - the counts of children that do not come to their exit().
**
** Linked into the unit programs of `make coverage` alone. What is counted there is written by exit();
** children of the tests end with _exit, stop themselves to be killed, or kill themselves, and it
** would be lost. The linker has their calls come here first (--wrap).
*/
#include <signal.h>

void __gcov_dump(void);
void __gcov_reset(void);

void __real__exit(int status) __attribute__((noreturn));
void __wrap__exit(int status) __attribute__((noreturn));
int __real_raise(int number);
int __wrap_raise(int number);

void __wrap__exit(int status) {
  __gcov_dump();
  __real__exit(status);
}

int __wrap_raise(int number) {
  __gcov_dump();
  __gcov_reset(); /* or what was written would be counted again */
  return __real_raise(number);
}
