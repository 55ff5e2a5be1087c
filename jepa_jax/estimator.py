"""Estimators of scikit-learn: the automatic recipe of `python -m train arrays`, and the signs of PyOD."""

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from jepa_jax.checkpoint import Checkpoints
from jepa_jax.config import Config, Data, Triangular, automatic
from jepa_jax.data import as_samples, is_dataset
from jepa_jax.data.columns import FEW_ROWS
from jepa_jax.data.offsets import automatic_offset
from jepa_jax.encoder import Encoder
from jepa_jax.errors import ConfigError, first_line
from jepa_jax.files import make_directory, write_atomically
from jepa_jax.held_out import fit_judged
from jepa_jax.loading import encoder_with, load_run
from jepa_jax.recipes import weights_path
from jepa_jax.run_dir import write_config, write_mixture

ESTIMATOR_FILE = "estimator.json"
LEAST_ROWS = 4  # that leave a row to judge by, and two to train on
FEW_WIDTH = 16  # of the hidden layers for few rows
FEW_COMPONENTS = 4
FEW_HOLDOUT = 0.2
LEAST_STEPS = 300  # for few rows
SCORED_ROWS = 1024  # rows scored at once
# Attributes of a fit that are plain values, and are saved as JSON.
PLAIN = ("offset_", "best_step_", "heldout_nats_", "heldout_nats_kde_", "heldout_nats_gmm_", "verdict_", "sentence_")


class JEPADensity(OutlierMixin, BaseEstimator):
    """Normalised density of rows of numbers, by the automatic recipe: `python -m train arrays` on the same rows.

    **High scores are typical, low ones outlying**, as everywhere in scikit-learn; `PyODDetector` has PyOD's signs.
    Units of columns do not matter. Columns of repeated values are spread, so that samples of them are too.

    Below 200 rows, which are too few for the recipe, a single smaller map is fitted, with a `UserWarning` that names
    the number of rows.

    Attributes:
      offset_: Log-density below which a row is predicted to be an outlier, in nats.
      encoder_: Encoder; `encoder_.log_density(x)` is the log-density of one row [D], less `config_.data.offset` if a
        column varies so little around a large mean that float32 would lose it.
      config_: Config of the training, resolved.
      best_step_: Step whose weights are the result, chosen by the held-out rows.
      heldout_nats_: Mean log-density of the held-out rows.
      heldout_nats_kde_: The same of a kernel density estimate, for comparison.
      heldout_nats_gmm_: The same of a Gaussian mixture; None if none can be fitted.
      verdict_: `healthy` if the density is to be trusted, or else the reason in a word (see `evaluate.judge`).
      sentence_: The verdict in words.
      notes_: Sentences about columns and rows whose density is not what it seems.
      n_features_in_: D.
      feature_names_in_: Names of the columns, if X was a DataFrame.
    """

    encoder_: Encoder
    config_: Config
    offset_: float
    best_step_: int
    heldout_nats_: float
    heldout_nats_kde_: float
    heldout_nats_gmm_: float | None
    feature_names_in_: np.ndarray
    verdict_: str
    sentence_: str
    notes_: tuple[str, ...]

    def __init__(
        self,
        *,
        contamination: float = 0.1,
        steps: int | None = None,
        members: int = 3,
        holdout: float | None = None,
        random_state: Any = 0,
        verbose: bool = False,
    ) -> None:
        """Set the parameters.

        Args:
          contamination: Share of the training rows that `predict` calls outliers, in (0, 0.5].
          steps: Training steps at most; None takes those of the recipe, fewer for few rows or many columns.
          members: Number of maps whose mixture is the density; for few rows it is one.
          holdout: Share of the rows that judge and are not trained on; None takes that of the recipe, a tenth.
          random_state: Seed: a number, None, or a RandomState. The default gives what the program gives.
          verbose: Whether to print the progress and the verdict.
        """
        self.contamination = contamination
        self.steps = steps
        self.members = members
        self.holdout = holdout
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> "JEPADensity":
        """Learn the density of rows.

        Args:
          X: Rows [N, D], an array, a DataFrame or a dataset of Hugging Face, of finite numbers.
          y: Not used.

        Raises:
          ValueError: If a parameter or a row is invalid, or there are fewer than four rows.
        """
        del y
        if not 0 < self.contamination <= 0.5:
            raise ValueError(f"contamination is {self.contamination}; it must be above 0 and at most 0.5")
        x = np.asarray(validate_data(self, _rows(X), dtype=np.float64, ensure_min_samples=LEAST_ROWS))
        # float32, in which it is trained, would lose a column that varies little around a large mean.
        offset = automatic_offset(x)
        x = x - np.array(offset or 0.0)
        found = fit_judged(self._config(*x.shape), x, self._say if self.verbose else None)
        data = dataclasses.replace(found.config.data, offset=offset)
        self.config_ = dataclasses.replace(found.config, data=data)
        self.encoder_, self.best_step_ = found.encoder, found.step
        self.heldout_nats_ = found.nats["heldout_nats"]
        self.heldout_nats_kde_ = found.nats["heldout_nats_kde"]
        self.heldout_nats_gmm_ = found.nats.get("heldout_nats_gmm")
        self.verdict_, self.sentence_ = found.health.verdict, found.health.sentence
        self.notes_ = found.source.notes
        self.offset_ = float(np.percentile(log_densities(self.encoder_, x), 100 * self.contamination))
        if self.verbose:
            print("\n".join([*(f"note: {note}" for note in self.notes_), self.sentence_]))
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """Return the normalised log-density [N] of rows [N, D], in nats; high is typical."""
        check_is_fitted(self)
        x = np.asarray(validate_data(self, _rows(X), dtype=np.float64, reset=False))
        return log_densities(self.encoder_, x - np.array(self.config_.data.offset or 0.0))

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the log-density [N] less `offset_`, in nats: below 0 for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """Return +1 for typical rows and -1 for outliers, [N]."""
        return np.where(self.decision_function(X) >= 0, 1, -1)

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean log-density of rows [N, D], in nats, by which searches choose parameters."""
        del y
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Draw rows [n_samples, D] from the learned density, by the inverse of the maps."""
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"n_samples is {n_samples}; it must be at least 1")
        key = jax.random.key(check_random_state(random_state).randint(2**31))
        with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
            found = np.asarray(_samples(_in_float64(self.encoder_), key, n_samples))
        return found + np.array(self.config_.data.offset or 0.0)

    def save(self, path: str | Path) -> None:
        """Save a fit as a run directory, which `jepa_jax.load` and `python -m score` take too.

        Raises:
          ConfigError: If there is something at the path, or it cannot be written.
        """
        check_is_fitted(self)
        out = Path(path)
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ConfigError(f"{out} exists already; name another folder")
        make_directory(out)
        item, *names = weights_path(self.config_)
        state: Any = self.encoder_.params
        for name in reversed(names):
            state = {name: state}
        checkpoints = Checkpoints(out, 1)
        checkpoints.save(self.best_step_, {item: state}, {}, self.heldout_nats_)
        checkpoints.close()
        if self.encoder_.weights is not None:
            write_mixture(out, self.best_step_, np.asarray(self.encoder_.weights).tolist())
        params = self.get_params() | {"random_state": self.config_.seed}
        fitted = {name: getattr(self, name) for name in (*PLAIN, "notes_", "n_features_in_")}
        if hasattr(self, "feature_names_in_"):
            fitted["feature_names_in_"] = self.feature_names_in_.tolist()
        text = json.dumps({"params": params, "fitted": fitted}, indent=2) + "\n"
        write_atomically(out / ESTIMATOR_FILE, lambda temporary: temporary.write_text(text))
        write_config(out, self.config_, self.encoder_.shape)  # last, because it makes the folder a run

    @classmethod
    def load(cls, path: str | Path) -> "JEPADensity":
        """Load a fit that `save` saved. No code of the folder is run.

        Raises:
          ConfigError: If the folder holds none, or is damaged.
        """
        from jepa_jax.run_dir import read_config

        run = Path(path)
        try:
            tree = json.loads((run / ESTIMATOR_FILE).read_text())
            model, fitted = cls(**tree["params"]), dict(tree["fitted"])
            fitted["notes_"] = tuple(fitted["notes_"])
            if "feature_names_in_" in fitted:
                fitted["feature_names_in_"] = np.array(fitted["feature_names_in_"], dtype=object)
        except FileNotFoundError:
            raise ConfigError(f"{run} holds no estimator: it has no {ESTIMATOR_FILE}") from None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ConfigError(f"{run / ESTIMATOR_FILE} is damaged: {first_line(error)}") from None
        vars(model).update(fitted)
        model.config_, model.encoder_ = read_config(run)[0], load_run(run)
        return model

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for pickle and copies, in which the weights of the encoder stand for its functions."""
        parent: Any = super().__getstate__()
        state: dict[str, Any] = dict(parent)
        encoder = state.pop("encoder_", None)
        if encoder is not None:
            weights = None if encoder.weights is None else np.asarray(encoder.weights)
            state["_encoder"] = encoder.shape, jax.tree.map(np.asarray, encoder.params), weights
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what `__getstate__` returned."""
        kept = state.pop("_encoder", None)
        super().__setstate__(state)
        if kept is not None:
            shape, params, weights = kept
            self.encoder_ = encoder_with(self.config_, shape, jax.tree.map(jnp.asarray, params), weights)

    def _config(self, rows: int, columns: int) -> Config:
        """Return the config for a table of this size."""
        config = automatic()
        few = rows < FEW_ROWS
        holdout = self.holdout if self.holdout is not None else FEW_HOLDOUT if few else config.data.holdout
        encoder, steps = config.encoder, config.steps
        assert isinstance(encoder, Triangular)
        encoder = dataclasses.replace(encoder, members=self.members)
        if few:
            warnings.warn(
                f"{rows} rows are fewer than the {FEW_ROWS} that the recipe needs: one smaller map is fitted, and "
                "nothing can say whether its density is right",
                UserWarning,
                stacklevel=3,
            )
            widths = (max(FEW_WIDTH, columns),) * 2
            encoder = dataclasses.replace(encoder, members=1, widths=widths, components=FEW_COMPONENTS, kernel="normal")
            steps = max(LEAST_STEPS, steps * rows // FEW_ROWS)
        seed = self.random_state
        seed = int(seed) if isinstance(seed, int | np.integer) else int(check_random_state(seed).randint(2**31))
        return dataclasses.replace(
            config,
            seed=seed,
            steps=steps if self.steps is None else self.steps,
            data=dataclasses.replace(config.data, holdout=holdout),
            encoder=encoder,
            # Few steps are judged as often as many, because few rows are learned by heart soon.
            monitor=dataclasses.replace(config.monitor, every=25 if few else config.monitor.every),
        )

    def _say(self, step: int, metrics: dict[str, float]) -> None:
        print(f"step {step:>6}  loss {metrics['loss']:.4f}  held-out nats {metrics['heldout_nats']:.3f}")


class PyODDetector:
    """Detector with the names and the signs of PyOD: **high scores are outlying**, labels are 1 for outliers.

    Attributes:
      decision_scores_: Outlier scores [N] of the training rows: minus the log-density in nats.
      threshold_: Score above which a row is an outlier, by the contamination of the estimator.
      labels_: 1 for outliers among the training rows and 0 for the others, [N].
    """

    def __init__(self, estimator: Any = None) -> None:
        """Wrap an estimator with `score_samples` and `offset_`; None makes a `JEPADensity`."""
        self.estimator = JEPADensity() if estimator is None else estimator

    def fit(self, X: Any, y: Any = None) -> "PyODDetector":
        """Fit the estimator to rows [N, D], and score them."""
        del y
        self.estimator.fit(X)
        self.decision_scores_ = pyod_scores(self.estimator, X)
        self.threshold_ = -float(self.estimator.offset_)
        self.labels_ = (self.decision_scores_ > self.threshold_).astype(int)
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the outlier scores [N] of rows [N, D]; high is outlying."""
        return pyod_scores(self.estimator, X)

    def predict(self, X: Any) -> np.ndarray:
        """Return 1 for outliers and 0 for typical rows, [N]."""
        return (self.decision_function(X) > self.threshold_).astype(int)


def pyod_scores(estimator: Any, X: Any) -> np.ndarray:
    """Return outlier scores [N] with the sign of PyOD, high is outlying: minus `estimator.score_samples(X)`."""
    return -np.asarray(estimator.score_samples(X))


def log_densities(encoder: Encoder, x: np.ndarray) -> np.ndarray:
    """Return the log-densities [N] of rows [N, D] under an encoder, in nats, computed in float64.

    In float64 the result for a row does not depend on the rows beside it, to the last digits.
    """
    # Few sizes, so that few programs are compiled.
    size = min(SCORED_ROWS, 1 << (len(x) - 1).bit_length())
    padded = np.concatenate([x, np.repeat(x[-1:], -len(x) % size, axis=0)])
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        wide = _in_float64(encoder)
        parts = [np.asarray(_log_densities(wide, part)) for part in padded.reshape(-1, size, x.shape[1])]
    return np.concatenate(parts)[: len(x)]


def _rows(X: Any) -> Any:
    """Return the input columns of a dataset of Hugging Face, [N, D]; other objects as they are."""
    return as_samples(X, Data()).x if is_dataset(X) else X


def _in_float64(encoder: Encoder) -> Encoder:
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), encoder)


_log_densities = jax.jit(lambda encoder, xs: jax.vmap(encoder.log_density)(xs))
_samples = jax.jit(lambda encoder, key, count: encoder.sample(key, count), static_argnums=2)
