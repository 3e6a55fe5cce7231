// [estimator], [optimizer] and [budget] of an experiment file.
#pragma once

#include "kind_keys.hpp"
#include "ness/files/experiment.hpp"

namespace ness {

/// Sets Experiment::estimator and make_estimator.
void read_estimator(Table& table, Document& document, const KindTables& kinds, Experiment& experiment,
                    OtherKinds& others);
/// Lists the keys of [estimator].
void list_estimator_keys(const KeyList& top, const KindTables& kinds);
/// The optimizer and its schedule.
void read_optimizer(Table& table, Document& document, const KindTables& kinds, OptimizerOptions& options,
                    OtherKinds& others);
/// Lists the keys of both.
void list_optimizer_keys(const KeyList& top, const KindTables& kinds);
/// The keys of [budget].
void read_limits(Keys& keys, TrainingOptions& options);
/// Limits of relaxations and of time, which `training` may hold as max_relaxations and max_time: given twice
/// they are refused, or, in logs, [budget] holds.
void read_budget(Table& table, const std::optional<Table>& training, TrainingOptions& options,
                 OtherKinds& others);
/// What an assignment on the command line says in the file under its other name is removed.
void remove_other_spelling(Document& document, const std::string& assignment);

}  // namespace ness
