/*
** plan.h - what xBestIndex tells xFilter, in idxNum.
**
** A bit for each constraint that was taken; xFilter gets their right-hand sides in the order of the
** bits. The same in words is idxStr, which EXPLAIN QUERY PLAN shows.
*/
#ifndef PLAN_H
#define PLAN_H

enum {
  PLAN_EQUAL = 1 << 0,  /* key = ? */
  PLAN_IN = 1 << 1,     /* key IN (?), all of them at once */
  PLAN_LOW = 1 << 2,    /* key >= ?, or > with PLAN_LOW_STRICT */
  PLAN_HIGH = 1 << 3,   /* key <= ?, or < with PLAN_HIGH_STRICT */
  PLAN_GLOB = 1 << 4,   /* key GLOB ?, for its literal prefix */
  PLAN_LIKE = 1 << 5,   /* key LIKE ?, for its literal prefix in either case */
  PLAN_ROOT = 1 << 6,   /* the subtree at and below ? */
  PLAN_PARENT = 1 << 7, /* the direct children of ? */
  PLAN_DEPTH = 1 << 8,  /* depth = ? */
  PLAN_LIMIT = 1 << 9,  /* only so many rows, after PLAN_OFFSET */
  PLAN_OFFSET = 1 << 10,
  PLAN_PARENTS = 1 << 11, /* the direct children of each of ?, all of them at once */
  PLAN_ARGUMENTS = 12,    /* so many bits stand for an argument */
  PLAN_LOW_STRICT = 1 << 12,
  PLAN_HIGH_STRICT = 1 << 13,
  PLAN_DESC = 1 << 14
};

#endif
