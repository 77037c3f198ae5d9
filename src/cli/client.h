/*
** client.h - the program's `kvstore client ...`: put, get, del, ls, tree, scan through a server.
**
** Exit codes: 0 done; 1 there is no such key or node; 2 anything else went wrong.
*/
#ifndef CLIENT_H
#define CLIENT_H

int client_main(int argc, char **argv);

#endif
