#include "lowrank/recipes/run/step_profile.h"

#include "catch.h"

using namespace lowrank;

TEST_CASE("a step's profile is a mean over all steps but the first; what no op accounts for is told", "[unit]") {
  std::vector<kernels::ProfileEvent> events;
  const auto add = [&](const char* op, double begin, double seconds, double flops, double bytes) {
    const bool around = std::string(op) == "step";
    events.push_back({op, begin, seconds, flops, bytes, 7, around ? 1.5 + begin : 0, around ? 5 * (begin < 1 ? 1000 : 1) : 0});
  };
  add("linear", 0.1, 0.8, 5, 5);  // of the first step, which is left out
  add("step", 0, 1, 0, 0);
  add("linear", 1.0, 0.2, 6e9, 0);
  add("linear", 1.3, 0.2, 6e9, 0);
  add("rms_norm", 1.6, 0.1, 0, 1e9);
  add("step", 1, 1, 0, 0);
  add("linear", 2.5, 0.4, 8e9, 0);  // between steps: an evaluation's
  add("linear", 3.0, 0.6, 8e9, 0);
  add("step", 3, 1, 0, 0);
  const recipes::StepProfile profile = recipes::step_profile(events, 40e9);
  CHECK(profile.steps == 2);
  CHECK(profile.seconds == Approx(1));
  CHECK(profile.cpu_seconds == Approx(3.5));
  CHECK(profile.page_faults == Approx(5));
  CHECK(profile.flops_share == Approx(0.25));
  REQUIRE(profile.rows.size() == 3);
  CHECK(profile.rows[0].op == "linear");
  CHECK(profile.rows[0].calls == 2);  // three in two steps
  CHECK(profile.rows[0].seconds == Approx(0.5));
  CHECK(profile.rows[0].flops == Approx(20e9));
  CHECK(profile.rows[1].op == "rms_norm");
  CHECK(profile.rows[1].bytes == Approx(1e10));
  CHECK(profile.rows[2].op == "other");
  CHECK(profile.rows[2].share == Approx(0.45));
  const std::string text = recipes::profile_text(profile);
  CHECK(text.find("linear") != std::string::npos);
  CHECK(text.find("25 % of this machine's 40 GFLOP/s") != std::string::npos);
  CHECK(text.find("1000 ms a step (3500 ms of the CPU's, 5 page faults) over 2 steps") != std::string::npos);
  CHECK(recipes::to_json(profile)["ops"].size() == 3);

  const core::Json trace = recipes::chrome_trace(events);
  REQUIRE(trace["traceEvents"].size() == events.size());
  CHECK(trace["traceEvents"][2]["ph"] == "X");
  CHECK(trace["traceEvents"][2]["ts"].get<double>() == Approx(1e6));
  CHECK(trace["traceEvents"][2]["args"]["GFLOP/s"].get<double>() == Approx(30));
  CHECK(recipes::step_profile({}, 1).steps == 0);
}
