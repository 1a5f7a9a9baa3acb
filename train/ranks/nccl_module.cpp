// lowrank_nccl.so: compiled where LibTorch has CUDA and NCCL's header is; loaded by nccl_wire.cpp.
#include "lowrank/train/ranks/nccl_module.h"

#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <nccl.h>

#include <cstdio>
#include <cstring>

namespace {

static_assert(sizeof(ncclUniqueId) == LOWRANK_NCCL_ID_BYTES);

constexpr int kOfCuda = 1000;  // errors of CUDA's runtime, beyond NCCL's own

char library[32] = "NCCL";

struct Group {
  ncclComm_t comm = nullptr;
  int device = 0;
  cudaEvent_t event = nullptr;
  bool in_hand = false;    // what close() gave NCCL, before that is on the stream
  bool on_stream = false;  // and before the stream has done it
};

int of(ncclResult_t result) { return result == ncclInProgress ? 0 : static_cast<int>(result); }
int of(cudaError_t error) { return error == cudaSuccess ? 0 : kOfCuda + static_cast<int>(error); }

int name_device(int device, char* to, size_t room) { return of(cudaDeviceGetPCIBusId(to, static_cast<int>(room), device)); }

int make_id(char* id) {
  ncclUniqueId made;
  const int error = of(ncclGetUniqueId(&made));
  if (error == 0) std::memcpy(id, &made, sizeof(made));
  return error;
}

int start(const char* id, int rank, int ranks, int device, void** group) {
  auto* made = new Group;
  *group = made;
  made->device = device;
  const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(device));
  if (const int error = of(cudaEventCreateWithFlags(&made->event, cudaEventDisableTiming)); error != 0) return error;
  ncclUniqueId all;
  std::memcpy(&all, id, sizeof(all));
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;  // who waits for a rank that never comes hears of it from the watch
  return of(ncclCommInitRankConfig(&made->comm, ranks, all, rank, &config));
}

int open(void* /*group*/) { return of(ncclGroupStart()); }

int send(void* group, const void* bytes, size_t count, int peer) {
  auto* on = static_cast<Group*>(group);
  const auto device = static_cast<c10::DeviceIndex>(on->device);
  return of(ncclSend(bytes, count, ncclChar, peer, on->comm, c10::cuda::getCurrentCUDAStream(device)));
}

int receive(void* group, void* bytes, size_t count, int peer) {
  auto* on = static_cast<Group*>(group);
  const auto device = static_cast<c10::DeviceIndex>(on->device);
  return of(ncclRecv(bytes, count, ncclChar, peer, on->comm, c10::cuda::getCurrentCUDAStream(device)));
}

int close(void* group) {
  static_cast<Group*>(group)->in_hand = true;
  return of(ncclGroupEnd());
}

int ended(void* group, int* ended) {
  auto* on = static_cast<Group*>(group);
  *ended = 0;
  ncclResult_t state = ncclSuccess;
  if (const int error = of(ncclCommGetAsyncError(on->comm, &state)); error != 0) return error;
  if (state == ncclInProgress) return 0;
  if (state != ncclSuccess) return static_cast<int>(state);
  const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(on->device));
  if (on->in_hand) {
    const auto stream = c10::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(on->device));
    if (const int error = of(cudaEventRecord(on->event, stream)); error != 0) return error;
    on->in_hand = false;
    on->on_stream = true;
  }
  if (on->on_stream) {
    const cudaError_t error = cudaEventQuery(on->event);
    if (error == cudaErrorNotReady) return 0;
    if (error != cudaSuccess) return of(error);
    on->on_stream = false;
  }
  *ended = 1;
  return 0;
}

void stop(void* group, int abort) {
  auto* on = static_cast<Group*>(group);
  if (on->comm != nullptr) abort != 0 ? ncclCommAbort(on->comm) : ncclCommDestroy(on->comm);
  if (on->event != nullptr) cudaEventDestroy(on->event);
  delete on;
}

void text(void* group, int error, char* to, size_t room) {
  const auto* on = static_cast<Group*>(group);
  if (error >= kOfCuda) {
    std::snprintf(to, room, "%s", cudaGetErrorString(static_cast<cudaError_t>(error - kOfCuda)));
    return;
  }
  const char* more = ncclGetLastError(on == nullptr ? nullptr : on->comm);
  std::snprintf(to, room, "%s%s%s", ncclGetErrorString(static_cast<ncclResult_t>(error)), more != nullptr && *more != '\0' ? ": " : "",
                more == nullptr ? "" : more);
}

const LowrankNccl module = {LOWRANK_NCCL_MODULE_VERSION, library, name_device, make_id, start, open, send, receive, close, ended, stop, text};

}  // namespace

extern "C" __attribute__((visibility("default"))) const LowrankNccl* lowrank_nccl() {
  int version = 0;
  if (ncclGetVersion(&version) == ncclSuccess)
    std::snprintf(library, sizeof(library), "NCCL %d.%d.%d", version / 10000, version / 100 % 100, version % 100);
  return &module;
}
