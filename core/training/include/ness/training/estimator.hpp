// Gradient estimators: how dL/dtheta is computed from relaxations.
//
// An estimator consists of chains (what to relax next, given the relaxations of this sample so far) and of a
// function of the rows that computes the gradient; replay and re-analysis call the same function. A chain
// begins with the free relaxation. The others are perturbed relaxations, in short perturbations: the same
// sample with a nudge, a held terminal or a changed parameter. The estimators are listed in
// estimator_table.hpp.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ness/device/chain.hpp"
#include "ness/training/dataset.hpp"
#include "ness/device/device.hpp"
#include "ness/device/model.hpp"

namespace ness {

/// The samples a gradient is taken over.
struct Minibatch {
  const Dataset* data = nullptr;
  std::vector<std::uint64_t> samples;   ///< indices into data
  std::vector<std::uint32_t> variants;  ///< [samples] of the patterns; empty: variant 0
  std::vector<Start> starts;            ///< [samples] of the free relaxations; empty: Rest
  Observe observe = Settled{};          ///< when every relaxation of the chains is read
  Parameters theta;
  std::uint64_t step = 0;
  unsigned threads = 1;  ///< for work over the samples (0: all cores); no figure depends on it
  /// How often these samples were relaxed at this theta before: random directions differ from repeat to
  /// repeat.
  std::uint32_t repeat = 0;

  Pattern pattern(std::size_t i) const {
    return data->pattern(samples[i], variants.empty() ? 0 : variants[i]);
  }
  std::span<const double> target(std::size_t i) const { return data->target(samples[i]); }
  /// Read at a time, not when settled: perturbed relaxations then start as the free relaxation does, and no
  /// branch can be kept.
  bool at_a_time() const { return std::holds_alternative<At>(observe); }
  /// The free relaxation of sample i: no nudge, its start, labelled for training.
  Drive free_drive(std::size_t i) const;
};

/// A gradient, its uncertainty and its cost.
struct Gradient {
  Vector value;  ///< dL/dtheta [n_parameters], device coordinates, mean over the samples used
  /// The standard deviation of `value` that errors of the readings cause, all random directions and signs
  /// fixed, [n_parameters]; empty where it is not stated.
  Vector reading_error;
  /// The standard deviation of `value` over repeats of the whole measurement at this theta: that of the
  /// readings and of the estimator's own random directions and signs, [n_parameters]; empty where it is not
  /// stated. From a single direction of SPSA alone its norm in coordinates is known, and each parameter is
  /// given the mean share.
  Vector whole_error;
  double loss = 0;  ///< mean loss of the free relaxations used (where there are none, of the perturbations)
  double correct = 0;          ///< fraction correct of those, for classifying losses
  std::uint64_t used = 0;      ///< samples that entered
  std::uint64_t left_out = 0;  ///< samples left out: a relaxation was not usable, or ended on another branch
  std::vector<std::uint32_t> without;  ///< [left_out] which: positions in the minibatch, in no order
  /// Chains that ended on another branch; each is repeated, or its sample is left out
  std::uint64_t lost = 0;
  bool at_theta = true;           ///< the loss was measured at theta; false: at perturbed parameters
  std::uint64_t relaxations = 0;  ///< made for this gradient
  std::uint16_t worst = 0;        ///< the quality flags of all of them, combined
  /// |G - G^T| / |G + G^T| (Frobenius norms), mean over the samples; NaN where it was not measured.
  double asymmetry = std::numeric_limits<double>::quiet_NaN();
  /// The next theta, instead of a step against the gradient, [n_parameters]: from estimators that search
  /// (evolution, blocking in SPSA).
  std::optional<Vector> next;
};

/// What errors of the readings do to a gradient: made once for the rows of a minibatch, used for each redraw
/// of them. Refers to all that it was made from.
class ReadingErrors {
 public:
  virtual ~ReadingErrors() = default;
  /// The gradient that would have been formed from `redrawn` readings (of the rows this was made for), with
  /// what would have been imposed because of them. `normal()` gives further normal numbers, with the
  /// standard deviation by which readings were redrawn in units of their own: for what is remembered.
  virtual Gradient form(std::vector<std::vector<Relaxation>> redrawn,
                        const std::function<double()>& normal) const = 0;
};

/// An estimator; its state, if it has one, is kept in checkpoints. `info` is the device's, with the
/// parameters' `trainable` and `range` narrowed to what the experiment allows (ParameterSpace::narrowed).
class Estimator {
 public:
  virtual ~Estimator() = default;
  virtual std::string_view name() const = 0;
  /// Empty if the device can serve this estimator; otherwise why not, naming the terminal or capability.
  virtual std::string unmet_needs(const DeviceInfo& info) const = 0;
  /// Relaxations per sample if none is repeated; the mean, for estimators that do not measure alike at every
  /// step.
  virtual double cost(const DeviceInfo& info) const = 0;
  /// Called once before the first step: chooses the sizes of nudges and steps that were left open, from noise
  /// and curvature, with relaxations labelled probe. Returns their number.
  virtual std::uint64_t prepare(Device& device, const DeviceInfo& info, const Minibatch& batch,
                                const Loss& loss, std::stop_token stop);
  /// One chain per sample. The chains refer to `batch` and `info`, which must outlive them.
  virtual std::vector<Chain> chains(const DeviceInfo& info, const Minibatch& batch,
                                    const Loss& loss) const = 0;
  /// Computes the gradient from the rows, [samples][position], and the state alone. rows[i][0] is the free
  /// relaxation.
  virtual Gradient form(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                        std::span<const std::vector<Relaxation>> rows) const = 0;
  /// How estimates from repeats of a minibatch at one theta differ. independent: by the errors of the device
  /// alone. random: by directions or signs that the estimator draws, too. dependent: less than estimates from
  /// separate trainings would, because readings made earlier enter all of them.
  enum class Repeats : std::uint8_t { independent, random, dependent };
  virtual Repeats repeats() const { return Repeats::independent; }
  /// Empty if Gradient::reading_error can be stated from the readings of a minibatch and their standard
  /// errors (where the device knows these); otherwise why not.
  virtual std::string unstated(const DeviceInfo& info) const;
  /// Called before `remember`. Null where the error cannot be stated.
  virtual std::unique_ptr<const ReadingErrors> errors_of_readings(
      const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
      std::span<const std::vector<Relaxation>> rows) const;
  /// Gradient::whole_error of `gradient`, which was formed from these rows; empty where it cannot be stated.
  /// `reading_error`: Gradient::reading_error, or zeros of that size on a deterministic device; may be empty.
  virtual Vector whole_error(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                             std::span<const std::vector<Relaxation>> rows, const Gradient& gradient,
                             const Vector& reading_error) const;
  /// Called after form with the same rows: updates the state.
  virtual void remember(const DeviceInfo& info, const Minibatch& batch, const Loss& loss,
                        std::span<const std::vector<Relaxation>> rows);
  /// The state as numbers, saved and restored bit for bit. restore throws std::invalid_argument for numbers
  /// that are not a state of this estimator.
  virtual Vector state() const;
  virtual void restore(const Vector& state);
};

/// The order of free and perturbed relaxations in a sample's chain, for every estimator that perturbs.
///
/// Where the device restores states each perturbed relaxation starts from the free state; else from where the
/// last one ended. A second free relaxation (a reference) is made after every `references` perturbations and
/// after the last. If it is off the free state by more than `return_tolerance` and six standard errors, the
/// branch was lost: the sample is repeated, or left out.
struct PerturbationOptions {
  /// 0: no reference. Not set: 0 where the device restores states; else one, after the last perturbation.
  std::optional<std::uint32_t> references = {};
  /// Readings of perturbed relaxations are corrected for the drift of the free state's readings, interpolated
  /// linearly in time between references (extrapolated from the last two after the last). A drift that is
  /// linear over the chain cancels. Needs a reference.
  bool cancel_drift = false;
  double return_tolerance = 0.1;  ///< kT
  std::uint32_t attempts = 2;     ///< chains per sample, at most, while they end on another branch
  /// Empty if usable; otherwise the reason.
  std::string problem() const;
};

/// The source of dI/dtheta, for every estimator with a costate.
struct CurrentLawOptions {
  /// false: from the model at the measured potentials. true: measured: all free nodes are held where they
  /// settled, each parameter is stepped, and the holding currents are read: 1 + m held steps per sample (1 +
  /// 2 m central), without relaxation and without a model.
  bool measured = false;
  double step = 1e-2;  ///< of a parameter: absolute on a linear scale, relative on a logarithmic one
  bool central = true;
};

/// The exact adjoint on a model (Eqs. 13-14 in currents): the free relaxation alone. On a device with a
/// calibrated twin it is the twin's Jacobian at the measured state. Needs every free potential. Cost: 1
/// relaxation per sample.
std::unique_ptr<Estimator> adjoint(std::shared_ptr<const Model> model);

struct FiniteDifferenceOptions {
  bool central = true;
  double step = 1e-4;  ///< of a parameter: absolute on a linear scale, relative on a logarithmic one
  /// Differences are taken for these parameters alone (the gradient of the others is 0); empty: all trainable
  /// ones.
  std::vector<std::uint32_t> parameters;
  PerturbationOptions perturbations = {};
};
/// Finite differences (Eq. 12): forward, error of the order of the step, m + 1 relaxations per sample; or
/// central, error of the order of its square, 2 m + 1. A step that would leave the parameter's range is taken
/// to the other side. Where the device reads its parameters back, differences are divided by the steps
/// achieved.
std::unique_ptr<Estimator> finite_differences(const FiniteDifferenceOptions& options);

struct EquilibriumPropagationOptions {
  enum class Form : std::uint8_t {
    one_sided,  ///< -beta c: error of the order of beta. 1 perturbation
    centred,    ///< -beta c, +beta c: of beta^2. 2
    /// -beta c or +beta c, drawn at random for each sample and step: one-sided, with an error of first order
    /// that averages out. 1
    random_sign,
    richardson,  ///< centred at beta and beta / 2, (4 D(beta/2) - D(beta)) / 3: of beta^4. 4
  };
  /// Nudge currents are -+beta * dL/dmu, frozen at the free state (1 / (kT units of the loss)), made smaller
  /// where they would leave a range. 0: chosen by prepare from noise and curvature, and kept; the largest
  /// nudge is then at most 0.4 units of current, or half the narrowest range.
  double beta = 1e-3;
  Form form = Form::centred;
  PerturbationOptions perturbations = {};
  CurrentLawOptions law = {};
  /// > 0: instead of beta: each sample is nudged by this current (units) at the output where |c| is largest,
  /// so that beta = nudge / max |c|. The perturbation stays finite as the error falls (overclamping), and so
  /// does its distance from the noise of readings.
  double nudge = 0;
};
/// Equilibrium propagation in currents (Eqs. C6-C8 with dI/dtheta in place of dF/dtheta, so that capacities
/// cancel): the costate R c is read from the shift under a frozen nudge at the outputs. Exact as beta -> 0
/// where G is symmetric. Needs injection at every output and every free potential. Cost: 1 free relaxation,
/// the form's perturbations, references.
std::unique_ptr<Estimator> equilibrium_propagation(std::shared_ptr<const Model> model,
                                                   const EquilibriumPropagationOptions& options);

struct CorrectedPropagationOptions {
  double beta = 1e-3;        ///< as of equilibrium propagation; 0: from noise and curvature
  std::uint32_t rounds = 3;  ///< of digital feedback a phase; the first is plain equilibrium propagation
  /// The antisymmetric part A = (G - G^T)/2: from the model at the free state, or measured (conductance by
  /// voltage) at each sample every `measure_every` steps and kept.
  bool measured = false;
  std::uint64_t measure_every = 20;
  double probe = 0.1;  ///< kT, of the measurement's held steps
  /// Rounds have to contract: the change of the nudge, counted from none, must fall at least by this factor
  /// from round to round, as far as the readings' errors let it be seen; else the chain ends and the sample
  /// is left out. Infinite: no test.
  double contraction = 0.9;
  PerturbationOptions perturbations = {};
  CurrentLawOptions law = {};
};
/// Asymmetry-corrected equilibrium propagation (AsymEP, arXiv 2602.03670, in currents): under the further
/// current -2 A (mu - mu0) the shift is that of G^T, so that the costate R^T c is exact as beta -> 0 on any
/// network. The feedback is digital: each round relaxes under the current computed from the last round's
/// shift, and multiplies the error by 2 R A. Centred: -beta c and +beta c. Where the current of a round would
/// leave the range of a node, that round is made smaller as a whole. Needs injection and reading at all free
/// nodes. Cost: 1 + 2 rounds, references, and 2 n held steps where A is measured. State: beta if chosen, and
/// each sample's measured A (at most 1 GB).
std::unique_ptr<Estimator> corrected_propagation(std::shared_ptr<const Model> model,
                                                 const CorrectedPropagationOptions& options);

struct CoupledLearningOptions {
  double eta = 0.1;  ///< outputs are held at mu_free -+ eta c (kT^2 per unit of the loss)
  bool centred = true;
  PerturbationOptions perturbations = {};
  CurrentLawOptions law = {};
};
/// Voltage-held perturbation (coupled learning, Stern et al. 2021, in currents), for benches that cannot
/// inject: the outputs are held a little off their free potentials, against c, and the shift of the other
/// nodes is read. For one output whose holding current is read the costate is R c, as in equilibrium
/// propagation; without the current, or with several outputs, it is R P^T (P R P^T)^-1 c (P picks the
/// outputs): a direction in which the loss falls, not its gradient. eta is made smaller for a sample whose
/// outputs would leave their levels' range; where one is beyond it already, the sample is left out. Where
/// the holding current u is within three standard errors s of 0, 1 / u becomes u / (3 s)^2. Needs to hold
/// every output and read every free potential. Cost: 1 + 1 relaxations, 1 + 2 centred, references.
std::unique_ptr<Estimator> coupled_learning(std::shared_ptr<const Model> model,
                                            const CoupledLearningOptions& options);

struct NodeProbingOptions {
  /// Injected current, units. 0: chosen in prepare where noise and curvature err least together: a few
  /// samples are measured at h and 2 h, h grows while noise hides the curvature, and no potential is moved by
  /// more than 1 kT; at least 1e-6. Where that is finer than the sources resolve, state it. A sample whose
  /// branch a probe lost is tried again (PerturbationOptions::attempts) with a quarter of it.
  double probe = 0;
  /// Two probes a node: +-delta, error of the order of delta^2. Where the range of a terminal's nudge has no
  /// room on one side, delta and 2 delta on the other with the free state, of the same order (and 3.6 times
  /// the noise); where it has little room, less. Else one probe, up where there is room, against the free
  /// state: of the order of delta. The two change places from node to node (+-, -+, ..): what readings drift
  /// by between them enters neighbouring columns with opposite signs, so that it largely cancels from a
  /// costate; to cancel it from each column ask for PerturbationOptions::cancel_drift.
  bool central = true;
  /// Between measurements. 0: measured at every step. N: a sample is measured at its first visit and then at
  /// every N-th; in between `refresh` nodes are probed in turn, and the shift of the free state since it was
  /// last learned from corrects the rest, where a model says by which injected current the change of the
  /// parameters could have been replaced, -(I(mu_old, theta_new) - I(mu_old, theta_old)), and the shift
  /// exceeds six standard errors (Broyden's update, 1965, for both; scaled down where noise explains the
  /// residual). Up to 1 GB is remembered: samples x (outputs + 3) x n numbers, all of them in each
  /// checkpoint.
  std::uint64_t measure_every = 0;
  std::uint32_t refresh = 1;
  /// A probe, or a shift, whose answer is off by more than this share from what was remembered (and three
  /// standard errors) makes the sample's next visit measure again.
  double reset = 0.3;
  PerturbationOptions perturbations = {};
  CurrentLawOptions law = {};
};
/// The adjoint with a measured Jacobian, by node probing: currents +-delta are injected at each free node and
/// the outputs are read, costate_j = c . dmu_out/du_j (Eqs. 13-14 in currents, R = dmu/du measured). Assumes
/// no reciprocity. Needs injection at all free nodes, and their potentials: dI/dtheta is taken where they
/// settled. All of R is seen where all nodes are probed, hence Gradient::asymmetry of G = -R^-1; noise of the
/// readings adds to it. Cost: 1 + n relaxations, 1 + 2 n central, references; tracked, 1 + refresh (1 + 2
/// refresh central) between measurements.
std::unique_ptr<Estimator> node_probing(std::shared_ptr<const Model> model,
                                        const NodeProbingOptions& options);

struct ConductanceOptions {
  double probe = 0;  ///< kT, of a held node; 0: from noise and curvature, as of node probing
  /// Two levels a node, mu +- delta, changing places as in node probing; an offset of a current meter
  /// cancels. Cut short where the range of a terminal's level ends (then of the order of delta). Else one,
  /// against the holding currents where nothing is stepped.
  bool central = true;
  /// As of node probing, with held steps: samples x (n + 3) x n numbers.
  std::uint64_t measure_every = 0;
  std::uint32_t refresh = 1;
  double reset = 0.3;
  PerturbationOptions perturbations = {};
  CurrentLawOptions law = {};
};
/// The adjoint with a measured Jacobian, by voltage: all free nodes are held where they settled, one is
/// stepped at a time, and the holding currents are read: a column of dI/dmu. (dI/dmu)^T costate = c is solved
/// (Eq. 13 in currents). Also right where the free network would not be stable. Steps are those of the
/// sources' setpoints. Needs to hold, and to read the current of, every free node, and their potentials; a
/// sample that settled where its sources cannot hold it is left out. Cost: 1 + 1 + n, 1 + 2 n central;
/// nothing but the first relaxes.
std::unique_ptr<Estimator> conductance_by_voltage(std::shared_ptr<const Model> model,
                                                  const ConductanceOptions& options);

struct SpsaOptions {
  /// Of the gain sequence c / (k + 1)^gamma of step k, in coordinates (absolute, or relative on a log scale).
  /// 0: calibrated before the first step, so that what noise and curvature leave of a slope's error is least,
  /// and no smaller than the loss scatters (Spall's rule).
  double c = 0;
  double gamma = 0.101;  ///< Spall's practical value
  /// Averaged a step; with two or more their scatter gives Gradient::whole_error
  std::uint32_t directions = 1;
  /// A step after which the loss has risen by more than `block` standard deviations of it is taken back. The
  /// deviation is measured before the first step. Only where each step takes all samples: others' losses say
  /// nothing about a step.
  bool blocking = false;
  double block = 2;
  /// References and drift need the free relaxation that blocking makes; it is then made, too
  PerturbationOptions perturbations = {};
};
/// Simultaneous perturbation (Spall 1992): all parameters are stepped at once by +-c, signs drawn at random,
/// all samples in the same direction; (L+ - L-) / (w+ - w-) for each. Unbiased but for O(c^2), and O(c) for
/// parameters within c of an end of their range, whose steps are shifted inside. Its scatter is that of m
/// directions: |gradient| sqrt(m - 1) a direction. Steps are those achieved where the device reads its
/// parameters back, and never below ten steps of their source's resolution. The loss is the mean of L+ and L-
/// (Gradient::at_theta false), unless the sample is relaxed freely too. Needs nothing but parameters. Cost: 2
/// a direction; 1 more with blocking, and references. Calibration of c takes 20 relaxations per sample of the
/// first minibatch, blocking alone 4. For Spall's gains a_k: optimizer sgd with the schedule spsa.
std::unique_ptr<Estimator> spsa(const SpsaOptions& options, std::uint64_t seed);

struct WalshOptions {
  double step = 1e-2;  ///< in coordinates, as SpsaOptions::c
  PerturbationOptions perturbations = {};
};
/// Walsh-coded multiplexed perturbation (MGD, arXiv 2501.15403): all parameters are stepped at once by
/// +-step, each by its own row of a Hadamard matrix, over a code period P; correlating the loss with a
/// parameter's code isolates its slope. Rows P/2 .. P are used, P = 2 times the smallest power of 2 that is
/// not below m: the product of two such rows is a row of the lower half, so that what is of the second order
/// in the steps is in nobody's slope, and the error is of the order of step^2 (of step, for parameters within
/// `step` of an end of their range, whose steps are shifted inside). Every reading is used for every
/// parameter: under noise s of the loss each slope errs by s / (step sqrt(P)), where central differences with
/// the same number of relaxations err by s / (step sqrt(P / m)). A drift linear over the period cancels,
/// unless m is a power of 2. Needs nothing but parameters, and P <= 65536. Cost: 1 free relaxation and P,
/// references.
std::unique_ptr<Estimator> walsh(const WalshOptions& options);

struct EvolutionOptions {
  std::uint32_t population = 20;
  std::uint32_t parents = 5;  ///< that survive a generation
  double sigma = 0.1;         ///< of a mutation, in coordinates
  double crossover = 0.5;     ///< share of the children that have two parents
};
/// A genetic algorithm (Whitelam & Casert, thermodynamic computing out of equilibrium): a step is a
/// generation. Each candidate relaxes each sample; the best `parents` survive, the others are their mutated
/// children, each parameter of a child of two taken from either. What is imposed is the first candidate;
/// parents are measured again with each generation. A candidate that leaves a sample unsettled is the worst.
/// Knows no gradient (the value is 0): Gradient::next is the best candidate, and the loss is its. Needs
/// nothing but parameters. Cost: `population`.
std::unique_ptr<Estimator> evolution(const EvolutionOptions& options, std::uint64_t seed);

/// Relaxes the chains of a minibatch and forms its gradient.
Gradient estimate(Device& device, const Estimator& estimator, const Minibatch& batch, const Loss& loss,
                  std::stop_token stop = {});

/// The standard deviation of a gradient that the readings' own standard errors (Relaxation::sigma and
/// current_sigma) cause, [n_parameters]. The gradient is formed `draws` times from rows whose readings are
/// moved by an eighth of their standard errors times normal numbers, and eight times the root mean square of
/// its changes is returned: exact to first order in the errors, with all correlations (the delta method;
/// Efron & Tibshirani 1993, chapter 21, with random directions in place of all of them). What readings did to
/// nudges and levels that were computed from them is in it, and what is remembered of earlier readings
/// (Estimator::errors_of_readings). A result has a relative standard deviation of 1 / sqrt(2 draws), or less
/// where many readings enter. Empty where it is not stated: no draws, readings of unknown error, an estimator
/// that cannot (Estimator::unstated).
Vector reading_error(const Estimator& estimator, const DeviceInfo& info, const Minibatch& batch,
                     const Loss& loss, std::span<const std::vector<Relaxation>> rows, std::uint32_t draws,
                     std::uint64_t seed);

/// Sets reading_error and whole_error of `gradient`, which was formed from these rows; call it before
/// Estimator::remember.
void state_errors(Gradient& gradient, const Estimator& estimator, const DeviceInfo& info,
                  const Minibatch& batch, const Loss& loss, std::span<const std::vector<Relaxation>> rows,
                  std::uint32_t draws, std::uint64_t seed);

}  // namespace ness
