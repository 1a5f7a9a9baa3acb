// Reports on a narrow terminal.
#include "lowrank/apps/console/wrap.h"

#include "catch.h"

using namespace lowrank::apps;

TEST_CASE("lines that are too wide go on below where their value begins, between words", "[live]") {
  const std::string wide = "learned    loss on validation data 3.4880 at the start, 3.3020 now\nnext       no\n";
  CHECK(laid_out(wide, 40) ==
        "learned    loss on validation data\n           3.4880 at the start, 3.3020\n           now\nnext       no\n");
  CHECK(laid_out(wide, 80) == wide);
  CHECK(laid_out("a  b\n────\n", 3) == "a\n   b\n───\n");
  CHECK(laid_out("one two three four", 10) == "one two\n  three\n  four");
  // Three letters of two bytes each are three columns.
  CHECK(laid_out("\u00e9\u00e9\u00e9 abc", 7) == "\u00e9\u00e9\u00e9 abc");
}

TEST_CASE("a command between backticks stays in one piece, to be copied", "[live]") {
  const std::string next = "next   try it: `lowrank generate model --adapter out`; keep it: `lowrank merge model`";
  CHECK(laid_out(next, 30) ==
        "next   try it:\n       `lowrank generate model --adapter out`;\n       keep it:\n       `lowrank merge model`");
}

TEST_CASE("what no longer fits into a line is left out whole", "[live]") {
  CHECK(joined_to_fit({"step 3/10", "12 s left", "", "epoch 0.20"}, 22) == "step 3/10  12 s left");
  CHECK(joined_to_fit({"step 3/10", "twelve seconds left", "epoch 0.20"}, 22) == "step 3/10  epoch 0.20");
}
