#include <dlfcn.h>
#include <link.h>

#include "lowrank/core/own_binary.h"

namespace lowrank::core {

std::filesystem::path own_binary() {
  Dl_info found{};
  link_map* object = nullptr;
  const bool known = ::dladdr1(reinterpret_cast<const void*>(&own_binary), &found, reinterpret_cast<void**>(&object),
                               RTLD_DL_LINKMAP) != 0;
  const bool program = !known || object == nullptr || *object->l_name == '\0';
  return program ? "/proc/self/exe" : object->l_name;
}

}  // namespace lowrank::core
