// lowrank_mpi.so: compiled where MPI's headers are, against Open MPI or MPICH; loaded by mpi_wire.cpp.
#include "lowrank/train/ranks/mpi_module.h"

#include <mpi.h>

#include <cstring>

namespace {

constexpr int kTag = 7;
char library[MPI_MAX_LIBRARY_VERSION_STRING] = "MPI";

int start(int* rank, int* ranks) {
  int provided = 0;
  int error = MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);
  if (error != MPI_SUCCESS) return error;
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  int length = 0;
  MPI_Get_library_version(library, &length);
  if (char* end = std::strpbrk(library, ",\n")) *end = '\0';
  error = MPI_Comm_rank(MPI_COMM_WORLD, rank);
  return error != MPI_SUCCESS ? error : MPI_Comm_size(MPI_COMM_WORLD, ranks);
}

int send(const void* bytes, size_t count, int peer, void** request) {
  auto* made = new MPI_Request;
  *request = made;
  return MPI_Isend(bytes, static_cast<int>(count), MPI_BYTE, peer, kTag, MPI_COMM_WORLD, made);
}

int receive(void* bytes, size_t count, int peer, void** request) {
  auto* made = new MPI_Request;
  *request = made;
  return MPI_Irecv(bytes, static_cast<int>(count), MPI_BYTE, peer, kTag, MPI_COMM_WORLD, made);
}

int test(void** request, int* ended) {
  auto* of = static_cast<MPI_Request*>(*request);
  const int error = MPI_Test(of, ended, MPI_STATUS_IGNORE);
  if (error != MPI_SUCCESS || *ended == 0) return error;
  delete of;
  *request = nullptr;
  return MPI_SUCCESS;
}

int stop() { return MPI_Finalize(); }

void text(int error, char* to, size_t room) {
  char all[MPI_MAX_ERROR_STRING] = "unknown error";
  int length = 0;
  MPI_Error_string(error, all, &length);
  std::strncpy(to, all, room - 1);
  to[room - 1] = '\0';
}

const LowrankMpi module = {LOWRANK_MPI_MODULE_VERSION, library, start, send, receive, test, stop, text};

}  // namespace

extern "C" __attribute__((visibility("default"))) const LowrankMpi* lowrank_mpi() { return &module; }
