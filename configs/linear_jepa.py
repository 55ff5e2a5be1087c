"""Deep linear self-distillation, whose dynamics are known in closed form (Littwin et al., arXiv 2407.03475).

    python -m train linear_jepa

Takes about a minute on two cores. With three layers the most predictable feature is learned first, although another
has the larger covariance; `linear_mae` has the other order.
"""

from jepa_jax.config import Config, Data, Linear, Monitor, Objective, Optim, Pair


def get_config() -> Config:
    """Plain gradient descent on half the squared error, from layers of scale 0.3, without an anti-collapse term."""
    return Config(
        steps=16000,
        data=Data(source="linear", batch_size=4096),
        encoder=Linear(depth=3, start=0.3),
        recipe=Pair(predictor="linear", direction="forward", stop_gradient=True),
        objective=Objective(anti_collapse="none", prediction_weight=0.5),
        optim=Optim(optimizer="sgd", lr=0.02, decay="none", warmup_steps=0),
        monitor=Monitor(every=1000, probes=512),
    )
