#include "lowrank/core/error.h"
#include "lowrank/formats/parquet_rows.h"

namespace lowrank::formats {

bool reads_parquet() { return false; }

void for_each_columnar_row(const core::FileRef&, const std::string& name,
                          const std::function<void(core::Json, double)>&) {
  throw DataError(name +
                  " is a Parquet or Arrow file, and this lowrank was built without Arrow's library, which reads it; install it for the "
                  "python3 that the build finds (pip install pyarrow) and build again, or write the file as .jsonl "
                  "(pandas: to_json(orient=\"records\", lines=True))");
}

}  // namespace lowrank::formats
