// A program of someone else's that takes one folder of lowrank from its sources.
#include <cstdio>

#include "lowrank/core/error.h"
#include "lowrank/formats/safetensors.h"

int main() {
  try {
    lowrank::formats::SafetensorsFile::open("/nowhere/at/all.safetensors");
  } catch (const lowrank::MissingError& error) {
    std::printf("consumer: %s\n", error.what());
    return 0;
  }
  return 1;
}
