#include <malloc.h>

#include "lowrank/core/files.h"

namespace lowrank::core {

void keep_heap() {
#ifdef __GLIBC__  // other C libraries have no such settings, and lose only the speed
  ::mallopt(M_MMAP_MAX, 0);
  ::mallopt(M_TRIM_THRESHOLD, -1);  // never
  ::mallopt(M_ARENA_MAX, 1);
#endif
}

}  // namespace lowrank::core
