"""Resolution of a config: the values that it leaves open are filled in for a given source of data."""

import math
from dataclasses import replace

from jepa_jax import config as cfg
from jepa_jax.config import Config
from jepa_jax.data import Source
from jepa_jax.errors import ConfigError
from jepa_jax.objectives import build as build_term
from jepa_jax.objectives import term_of
from jepa_jax.recipes import RECIPES

MANY_NUMBERS = 16  # in a sample, above which `fewer_steps` takes fewer
LEAST_STEPS = 600  # that `fewer_steps` leaves
MIN_DIM, MAX_DIM = 16, 128  # bounds for the width of an embedding that is derived from the data


def resolve(config: Config, source: Source) -> Config:
    """Return a config with every default that depends on the data or the objective filled in.

    Raises:
      ConfigError: If sections are incompatible with each other or with the samples.
    """
    options, encoder = config.objective, config.encoder
    if isinstance(encoder, cfg.PretrainedViT) and config.init_from is None:
        raise ConfigError("`encoder.kind` pretrained needs `init_from`, which brings its sizes and its weights")
    RECIPES[config.recipe.kind].check(config.recipe, encoder, config.views)
    if config.density.law != "assumed" and options.anti_collapse == "entropy":
        raise ConfigError("`density.law`: the log-density of this encoder is exact; leave the law as assumed")
    _check_objective(config)
    if isinstance(config.views, cfg.Crops):
        _check_crops(config.views, encoder, source.shape)
    if config.data.neighbours:
        _check_neighbours(config)
    built = build_term(
        options.anti_collapse, weight=options.weight, temperature=options.temperature, num_slices=options.num_slices
    )
    return replace(
        config,
        steps=_steps(config, math.prod(source.shape)),
        fewer_steps=False,
        data=replace(
            config.data,
            batch_size=source.batch_size,
            columns=source.columns,
            levels=source.levels,
            offset=source.offset,
        ),
        encoder=_encoder(config, source),
        recipe=_recipe(config.recipe, source),
        objective=replace(options, weight=built.weight),
    )


def base_distribution(config: Config) -> str | None:
    """Return the base distribution p(z) to which a resolved config's objective drives its embedding, or None.

    There is none if the output is not the one that the anti-collapse term assumes: the distribution of a term for a
    free output, for example, is lost when the embedding is forced onto the sphere.
    """
    if getattr(config.recipe, "projector", ()):
        return None  # the objective acts on the projection, not on the embedding
    term, encoder = term_of(config.objective.anti_collapse), config.encoder
    if term.contrasts and _forward_target(config.recipe):
        return None  # it acts on predictions and embeddings of second views, whose law need not be that of samples
    if isinstance(encoder, cfg.Triangular):
        if config.objective.anti_collapse == "entropy":
            return "normal" if encoder.output == "gaussian" else encoder.output
        # A term on the sphere cannot make the embedding uniform there, because the torus is only a part of it.
        return term.base if (encoder.output, term.base) == ("gaussian", "normal") else None
    return term.base if term.output == config.encoder.output else None


def _forward_target(recipe: cfg.Recipe) -> str:
    """Return what a predictor answers of the second view from the first alone, or nothing."""
    if not isinstance(recipe, cfg.Pair) or recipe.direction != "forward" or not recipe.predictor:
        return ""
    return recipe.target


def _check_objective(config: Config) -> None:
    """Check that the recipe has what the objective acts on, because a loss would not fail without it."""
    options, kind = config.objective, config.recipe.kind
    name, term = options.anti_collapse, term_of(options.anti_collapse)
    if options.distance != "l2" and kind not in ("pair", "masked"):
        raise ConfigError(f"`objective.distance` {options.distance} is for `recipe.kind` pair and masked, not {kind}")
    if options.anti_collapse_on == "tokens":
        if kind not in ("pair", "masked") or not isinstance(config.encoder, cfg.ViT):
            raise ConfigError(
                "`objective.anti_collapse_on` tokens needs `encoder.kind` vit and `recipe.kind` pair or masked, not "
                f"{config.encoder.kind} and {kind}"
            )
        if term.output == "sphere" or term.views:
            raise ConfigError(f"`objective.anti_collapse` {name} acts on whole samples; on tokens use sigreg or vicreg")
    if term.contrasts and _forward_target(config.recipe) == "tokens":
        raise ConfigError(
            f"`objective.anti_collapse` {name} tells predicted embeddings from those of other samples, and "
            "`recipe.target` tokens predicts none; use `recipe.target` embedding, or sigreg"
        )
    if term.views and (views := _embedded_views(config)) not in term.views:
        raise ConfigError(
            f"`objective.anti_collapse` {name} compares two views of a sample, and here there are {views}"
        )


def _check_neighbours(config: Config) -> None:
    """Check that near samples are second views, which are predicted."""
    recipe = config.recipe
    if isinstance(config.views, cfg.Crops) or RECIPES[recipe.kind].views_read(recipe) == 1:
        raise ConfigError(
            "`data.neighbours` makes second views of other samples, and there are none here: use `views.kind` noise, "
            "and `recipe.kind` pair, or masked with `recipe.pair_weight` and `recipe.pair_of` noise"
        )
    if config.objective.anti_collapse == "entropy" or not config.objective.prediction_weight:
        raise ConfigError(
            "`data.neighbours` makes second views that are predicted, and would distort a density that is fitted to "
            "all views: use another `objective.anti_collapse`, such as infonce, with `objective.prediction_weight`"
        )


def _embedded_views(config: Config) -> int:
    """Return the number of views of a sample that the anti-collapse term acts on."""
    recipe, views = config.recipe, config.views
    if isinstance(recipe, cfg.Masked):
        return 2 if recipe.pair_weight else 1
    if not isinstance(views, cfg.Crops):
        return 2
    return views.global_views + (views.local_views if recipe.kind != "distill" else 0)


def _encoder(config: Config, source: Source) -> cfg.Encoder:
    """Return the encoder section, with what the data determine."""
    encoder = replace(config.encoder, dim=_dim(config, source), output=_output(config))
    if isinstance(encoder, cfg.ViT):
        features = source.row_features if encoder.row_positions == "given" else None
        width = 0 if features is None else features.shape[1]
        encoder = replace(encoder, categories=source.categories, row_features=width)
    elif any(source.categories):
        raise ConfigError(
            f"{config.data.source} has columns of categories, of which only `encoder.kind` vit makes tokens, with "
            "`encoder.patch_size` 1 and `encoder.per_row`"
        )
    return encoder


def _recipe(recipe: cfg.Recipe, source: Source) -> cfg.Recipe:
    """Return the recipe section, with what the data determine."""
    if not isinstance(recipe, cfg.Pair) or not recipe.predictor:
        return recipe
    if source.conditions and recipe.direction != "forward":
        raise ConfigError("data with a condition say how the second view follows; set `recipe.direction` forward")
    return replace(recipe, conditions=source.conditions)


def _steps(config: Config, size: int) -> int:
    """Return the number of steps for samples of `size` numbers."""
    if not config.fewer_steps or size <= MANY_NUMBERS:
        return config.steps
    return min(config.steps, max(LEAST_STEPS, int(config.steps * (MANY_NUMBERS / size) ** 0.5)))


def _dim(config: Config, source: Source) -> int:
    """Return K; if it is open, the width of a token for the recipe `masked`, or 4 D within bounds."""
    encoder = config.encoder
    if isinstance(encoder, cfg.Triangular):
        dim = math.prod(source.shape) * (2 if _output(config) == "torus" else 1)
        if encoder.dim not in (None, dim):
            raise ConfigError(f"`encoder.dim` is {encoder.dim}, but that of a triangular map is {dim}; leave it out")
        return dim
    if isinstance(encoder, cfg.Linear):
        return math.prod(source.shape)
    if isinstance(encoder, cfg.ViT) and encoder.readout == "flatten":
        return encoder.dim or encoder.width * math.prod(_grid(encoder, source.shape))
    if config.recipe.kind == "masked" and isinstance(encoder, cfg.ViT):
        return encoder.dim or encoder.width
    return encoder.dim or max(MIN_DIM, min(MAX_DIM, 4 * math.prod(source.shape)))


def _grid(encoder: cfg.ViT, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the numbers of rows and columns of patches; the network checks that patches divide the sample."""
    height, width = patch_sides(encoder)
    return shape[0] // height, (shape[1] // width if len(shape) > 1 else 1)


def patch_sides(encoder: cfg.ViT) -> tuple[int, int]:
    """Return the height and the width of a patch."""
    size = encoder.patch_size
    return (size, size) if isinstance(size, int) else (size[0], size[-1])


def _output(config: Config) -> str:
    """Return `free` or `sphere`; for a triangular map `cube`, `torus` or `gaussian`.

    Raises:
      ConfigError: If the anti-collapse term and the output are incompatible.
    """
    name = config.objective.anti_collapse
    term = term_of(name)
    projected = bool(getattr(config.recipe, "projector", ()))
    if isinstance(config.encoder, cfg.Triangular):
        output = _triangular_output(name, config.encoder.output, projected, config.optim.compute)
        if config.encoder.members > 1 and (name, output) != ("entropy", "cube"):
            raise ConfigError("`encoder.members` above 1 needs `objective.anti_collapse` entropy and the output cube")
        return output
    if name == "entropy":
        raise ConfigError(
            "`objective.anti_collapse` entropy needs an encoder that cannot fold, because a fold is credited with "
            "entropy that is not there; use `encoder.kind` triangular"
        )
    output = term.output if config.encoder.output == "auto" else config.encoder.output
    if output == "free" and term.output == "sphere":
        raise ConfigError(f"`objective.anti_collapse` {name} acts on the sphere; leave out `encoder.output` free")
    return "free" if projected else output  # the projection is on the sphere


def _triangular_output(name: str, output: str, projected: bool, compute: str) -> str:
    """Return the output of a triangular map for the anti-collapse term of this name.

    Raises:
      ConfigError: If the two are incompatible.
    """
    if compute != "float32":
        raise ConfigError(f"a triangular map needs `optim.compute` float32: its density is lost in {compute}")
    if name == "entropy" and projected:
        raise ConfigError("`objective.anti_collapse` entropy acts on the embedding; leave out `recipe.projector`")
    sphere = term_of(name).output == "sphere" and not projected
    if output == "auto":
        return "torus" if sphere else "cube" if name == "entropy" else "gaussian"
    if sphere and output != "torus":
        raise ConfigError(f"`objective.anti_collapse` {name} acts on the sphere; use `encoder.output` torus")
    return output


def _check_crops(views: cfg.Crops, encoder: cfg.Encoder, shape: tuple[int, ...]) -> None:
    """Check that images of this shape can be cropped for this encoder."""
    if len(shape) != 3 or shape[2] not in (1, 3) or shape[0] != shape[1]:
        raise ConfigError(f"`views.kind` crops needs square images, but the samples have shape {list(shape)}")
    size = views.local_size
    if size is not None and size != shape[0]:
        if not isinstance(encoder, cfg.ViT):
            raise ConfigError("`views.local_size` needs `encoder.kind` vit, which takes images of any size")
        patch = max(patch_sides(encoder))
        if any(size % side for side in patch_sides(encoder)):
            raise ConfigError(f"`views.local_size` is {size}; it must be a multiple of `encoder.patch_size`, {patch}")
