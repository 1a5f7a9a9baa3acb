// TensorBoard's event files, which a resumed run goes on with: first byte, the step that is kept.
#include <fstream>
#include <sstream>

#include "fuzz.h"
#include "lowrank/formats/tensorboard.h"

LOWRANK_FUZZ_TARGET(events) {
  if (input.empty()) return;
  const std::int64_t last = static_cast<unsigned char>(input[0]);
  const std::filesystem::path path = lowrank_fuzz::file_with("events", input.substr(1));
  {
    lowrank::formats::EventFile file(path, last);
    file.write(last + 1, {{"train/loss", 0.5}});
    file.close();
  }
  std::ifstream in(path, std::ios::binary);
  std::ostringstream all;
  all << in.rdbuf();
  // Whatever there was, the record that was written stands whole at its end.
  std::string record = lowrank::formats::scalar_record(0, last + 1, {{"train/loss", 0.5}});
  if (all.str().size() < record.size()) lowrank_fuzz::broken("the record that was written is not there");
}
