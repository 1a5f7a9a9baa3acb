#include "lowrank/train/schedule.h"

#include <vector>

#include "catch.h"
#include "lowrank/core/error.h"
#include "message.h"

using namespace lowrank::train;

namespace {

void check_curve(Schedule schedule, std::int64_t warmup, const std::vector<double>& expected) {
  const auto steps = static_cast<std::int64_t>(expected.size());
  for (std::int64_t i = 0; i < steps; ++i) {
    INFO(schedule_name(schedule) << " warmup " << warmup << " step " << i);
    CHECK(learning_rate(schedule, 2e-4, i, steps, warmup) == expected[static_cast<std::size_t>(i)]);
  }
}

}  // namespace

// Printed by transformers 5.23: get_scheduler(name, SGD(lr=2e-4), num_warmup_steps, num_training_steps), one rate a
// step.
TEST_CASE("learning rates are the same doubles as transformers' get_scheduler gives", "[unit][parity]") {
  check_curve(
      Schedule::kConstant, 3,
      {0.0, 6.666666666666667e-05, 0.00013333333333333334, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002});
  check_curve(Schedule::kConstant, 0, {0.0002, 0.0002, 0.0002, 0.0002});
  check_curve(Schedule::kConstant, 4, {0.0, 5e-05, 0.0001, 0.00015000000000000001});
  check_curve(
      Schedule::kLinear, 3,
      {0.0, 6.666666666666667e-05, 0.00013333333333333334, 0.0002, 0.00017142857142857143, 0.00014285714285714287,
       0.00011428571428571428, 8.571428571428571e-05, 5.714285714285714e-05, 2.857142857142857e-05});
  check_curve(Schedule::kLinear, 0, {0.0002, 0.00018, 0.00016, 0.00014, 0.00012, 0.0001, 8e-05, 6e-05, 4e-05, 2e-05});
  check_curve(
      Schedule::kCosine, 3,
      {0.0, 6.666666666666667e-05, 0.00013333333333333334, 0.0002, 0.0001900968867902419, 0.00016234898018587337,
       0.00012225209339563145, 7.774790660436858e-05, 3.7651019814126654e-05, 9.903113209758096e-06});
  check_curve(Schedule::kCosine, 0,
              {0.0002, 0.00019510565162951537, 0.00018090169943749476, 0.00015877852522924732, 0.00013090169943749476,
               0.0001, 6.909830056250527e-05, 4.12214747707527e-05, 1.9098300562505266e-05, 4.8943483704846475e-06});
  check_curve(Schedule::kCosine, 1, {0.0});
}

TEST_CASE("warm-up below 1 is a share rounded up, from 1 on a number of steps", "[unit]") {
  CHECK(warmup_steps(0, 100) == 0);
  CHECK(warmup_steps(0.03, 100) == 3);
  CHECK(warmup_steps(0.03, 101) == 4);
  CHECK(warmup_steps(0.999, 10) == 10);
  CHECK(warmup_steps(1, 10) == 1);
  CHECK(warmup_steps(7, 10) == 7);
  CHECK_THROWS_AS(warmup_steps(-0.1, 10), lowrank::ConfigError);
}

TEST_CASE("the warm-up of a short run wastes no step at a rate of 0; a long one is transformers'", "[unit]") {
  using lowrank::train::run_rate;
  CHECK(run_rate(Schedule::kCosine, 2e-4, 0, 4, 1) == 1e-4);
  CHECK(run_rate(Schedule::kCosine, 2e-4, 1, 4, 1) == 2e-4);
  for (const std::int64_t steps : {2, 10, 60, 199}) {
    const std::int64_t warmup = warmup_steps(0.03, steps);
    for (std::int64_t i = 0; i < warmup; ++i) CHECK(run_rate(Schedule::kLinear, 2e-4, i, steps, warmup) > 0);
    for (std::int64_t i = warmup; i < steps; ++i)
      CHECK(run_rate(Schedule::kLinear, 2e-4, i, steps, warmup) ==
            learning_rate(Schedule::kLinear, 2e-4, i, steps, warmup));
  }
  for (std::int64_t i = 0; i < 200; ++i)
    CHECK(run_rate(Schedule::kCosine, 2e-4, i, 200, 6) == learning_rate(Schedule::kCosine, 2e-4, i, 200, 6));
}

TEST_CASE("a schedule's name is read back, and a wrong one is answered with the nearest", "[unit]") {
  for (const char* name : {"constant", "linear", "cosine"}) CHECK(schedule_name(parse_schedule(name)) == name);
  const std::string message = lowrank_test::message_of<lowrank::ConfigError>([] { parse_schedule("cosin"); });
  INFO(message);
  CHECK(lowrank_test::contains(message, "did you mean 'cosine'"));
}
