// How well classes are predicted: accuracy, macro F1, Matthews correlation, confusion matrix. Torch-free.
#pragma once

#include <cstdint>
#include <vector>

namespace lowrank::eval {

struct ClassScore {
  double precision = 0, recall = 0, f1 = 0;  // 0 where there is nothing to divide by
  std::int64_t support = 0;                  // examples of this class
};

/// As scikit-learn 1.x computes them (accuracy_score, f1_score(average="macro"), matthews_corrcoef, confusion_matrix).
struct Classification {
  std::int64_t examples = 0;
  double accuracy = 0;
  double macro_f1 = 0;  // mean over the classes that occur, as truth or as prediction
  double matthews =
      0;  // Gorodkin 2004 for several classes, from -1 to 1; 0 where all truths or predictions are one class
  std::vector<std::vector<std::int64_t>> confusion;  // [truth][prediction]
  std::vector<ClassScore> classes;
};

/// `truth` and `predicted`: class numbers from 0, one an example. DataError when there are none, or more of one than of
/// the other, or a number is outside [0, classes).
Classification classification(const std::vector<std::int64_t>& truth, const std::vector<std::int64_t>& predicted,
                              std::int64_t classes);

}  // namespace lowrank::eval
