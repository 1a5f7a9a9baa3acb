/* What lowrank_nccl.so gives lowrank: as much of NCCL as sums need, in plain C, so that the command is not linked with
   NCCL and starts without it. */
#pragma once

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LOWRANK_NCCL_MODULE_VERSION 1
#define LOWRANK_NCCL_ID_BYTES 128

struct LowrankNccl {
  int version;
  const char* library; /* "NCCL 2.28.3" */
  /* Each returns 0, or an error, which text() explains. None waits for other ranks. */
  int (*name_device)(int device, char* to, size_t room); /* what tells it from all others of its machine, under any number */
  int (*make_id)(char* id);                                                                 /* LOWRANK_NCCL_ID_BYTES */
  int (*start)(const char* id, int rank, int ranks, int device, void** group);              /* on every rank, by one id */
  int (*open)(void* group);                                                                 /* what follows, up to close(), goes at the same time */
  int (*send)(void* group, const void* bytes, size_t count, int peer);                      /* addresses of the device */
  int (*receive)(void* group, void* bytes, size_t count, int peer);
  int (*close)(void* group);                                                                /* behind what the device's current stream has to do */
  int (*ended)(void* group, int* ended);                                                    /* start(), or all up to the last close() */
  void (*stop)(void* group, int abort);
  void (*text)(void* group, int error, char* to, size_t room);
};

/* The one symbol of the module. */
const struct LowrankNccl* lowrank_nccl(void);

#ifdef __cplusplus
}
#endif
