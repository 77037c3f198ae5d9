/*
** plan.h - what xBestIndex tells xFilter, in idxNum.
**
** A bit for each constraint that was taken; xFilter gets their right-hand sides in the order of the
** bits. The same in words is idxStr, which EXPLAIN QUERY PLAN shows.
*/
#ifndef PLAN_H
#define PLAN_H

enum {
  PLAN_EQUAL = 1 << 0,       /* key = ? */
  PLAN_LOW = 1 << 1,         /* key >= ?, or > with PLAN_LOW_STRICT */
  PLAN_HIGH = 1 << 2,        /* key <= ?, or < with PLAN_HIGH_STRICT */
  PLAN_GLOB = 1 << 3,        /* key GLOB ?, for its literal prefix */
  PLAN_ROOT = 1 << 4,        /* the subtree at and below ? */
  PLAN_PARENT = 1 << 5,      /* the direct children of ? */
  PLAN_DEPTH = 1 << 6,       /* depth = ? */
  PLAN_ARGUMENTS = 7,        /* so many bits stand for an argument */
  PLAN_LOW_STRICT = 1 << 8,
  PLAN_HIGH_STRICT = 1 << 9,
  PLAN_DESC = 1 << 10
};

#endif
