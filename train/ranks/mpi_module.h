/* What lowrank_mpi.so gives lowrank: as much of MPI as ranks need, in plain C, so that the command is not linked with
   MPI and starts without it. */
#pragma once

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LOWRANK_MPI_MODULE_VERSION 1
#define LOWRANK_MPI_MOST_BYTES ((size_t)1 << 30) /* of one transfer: MPI counts in int */

struct LowrankMpi {
  int version;
  const char* library; /* "Open MPI v4.1.4 ..." */
  /* Each returns 0, or MPI's error code, which text() explains. */
  int (*start)(int* rank, int* ranks);
  int (*send)(const void* bytes, size_t count, int peer, void** request);
  int (*receive)(void* bytes, size_t count, int peer, void** request);
  /* Whether it has ended; a request that has is gone. */
  int (*test)(void** request, int* ended);
  int (*stop)(void);
  void (*text)(int error, char* to, size_t room);
};

/* The one symbol of the module. */
const struct LowrankMpi* lowrank_mpi(void);

#ifdef __cplusplus
}
#endif
