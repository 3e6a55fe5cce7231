// Trains the divider so that an input of 2 gives 1.5 (G = 3).
#include <ness/training/trainer.hpp>

#include <cmath>
#include <iostream>

#include "divider.hpp"

int main() {
  Divider device;
  ness::Task task;
  task.train = {std::make_shared<ness::DensePatterns>("two", ness::RowMatrix::Constant(1, 1, 2.0)),
                {0},
                ness::RowMatrix::Constant(1, 1, 1.5)};
  task.loss = std::make_shared<ness::SquaredError>();
  const auto estimator = ness::finite_differences({});
  const ness::ParameterSpace space(device.info());
  ness::Trainer trainer(device, *estimator, task, space, {.rate = 0.1}, {.epochs = 400});
  const ness::TrainingSummary summary = trainer.run(ness::Vector::Constant(1, 1.0));
  std::cout << summary.message() << "\nG = " << summary.theta[0] << "\n";
  return std::abs(summary.theta[0] - 3) < 1e-3 ? 0 : 1;
}
