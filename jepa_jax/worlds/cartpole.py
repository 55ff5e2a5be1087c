"""Cart with a pole seen by a camera, under a linear controller with random commands."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.linalg import solve_discrete_are, solve_discrete_lyapunov

from jepa_jax.worlds.world import World

HEIGHT, WIDTH = 16, 24
GRAVITY, CART, POLE, HALF_LENGTH, INTERVAL = 9.8, 1.0, 0.1, 0.5, 0.02  # m/s^2, kg, kg, m, s
MAX_FORCE = 10.0  # N
DEVIATIONS = np.array([0.002, 0.02, 0.004, 0.04])  # of the noise of one step: m, m/s, rad, rad/s
EXPLORATION = 5.0  # standard deviation of the random part of a command in N
LAG = 8  # steps between the two frames of an observation
PIXELS_PER_METRE = 6.0
POLE_PIXELS = 11.0


def move(state: Array, force: Array) -> Array:
    """Return the state (place, velocity, angle, angular velocity) [4] one step later, without noise.

    Barto, Sutton & Anderson, "Neuronlike adaptive elements that can solve difficult learning control problems", 1983,
    by Euler's method; the force is limited to 10 N.
    """
    _, velocity, angle, spin = state
    force = jnp.clip(force, -MAX_FORCE, MAX_FORCE)
    total, sine, cosine = CART + POLE, jnp.sin(angle), jnp.cos(angle)
    push = (force + POLE * HALF_LENGTH * spin**2 * sine) / total
    turning = (GRAVITY * sine - cosine * push) / (HALF_LENGTH * (4 / 3 - POLE * cosine**2 / total))
    speeding = push - POLE * HALF_LENGTH * turning * cosine / total
    return state + INTERVAL * jnp.stack([velocity, speeding, spin, turning])


@functools.cache
def gains() -> tuple[np.ndarray, np.ndarray]:
    """Return the gain [4] of the linear quadratic regulator, and the covariance [4, 4] of the states under it.

    The command is -gain . state.
    """
    with jax.ensure_compile_time_eval():
        zero = jnp.zeros(4), jnp.zeros(())
        a, b = (np.asarray(jax.jacfwd(move, i)(*zero), np.float64) for i in (0, 1))
    b = b.reshape(4, 1)
    costs = np.diag([1.0, 0.1, 10.0, 0.1]), np.array([[0.01]])
    solution = solve_discrete_are(a, b, *costs)
    gain = np.linalg.solve(costs[1] + b.T @ solution @ b, b.T @ solution @ a)[0]
    noise = np.diag(DEVIATIONS**2) + EXPLORATION**2 * b @ b.T
    return gain, solve_discrete_lyapunov(a - np.outer(b, gain), noise)


def command(state: Array) -> Array:
    """Return the command of the regulator at a state, in N."""
    return -jnp.asarray(gains()[0], jnp.float32) @ state


def observe(state: Array) -> Array:
    """Return two frames [16, 24, 2]: of the state, and of where the cart and the pole were eight steps earlier.

    The earlier place and angle are those of constant velocities, so that an observation is a function of its state.
    """
    earlier = state - LAG * INTERVAL * jnp.stack([state[1], 0 * state[1], state[3], 0 * state[3]])
    return jnp.stack([_frame(state), _frame(earlier)], axis=-1)


def _frame(state: Array) -> Array:
    """Return one image [16, 24]: a soft line for the pole and a soft spot for the cart."""
    row, column = (jnp.arange(side, dtype=state.dtype) for side in (HEIGHT, WIDTH))
    foot = (WIDTH - 1) / 2 + PIXELS_PER_METRE * state[0]
    across, up = column[None, :] - foot, (HEIGHT - 3.0) - row[:, None]
    along = jnp.clip(across * jnp.sin(state[2]) + up * jnp.cos(state[2]), 0, POLE_PIXELS)
    off = (across - along * jnp.sin(state[2])) ** 2 + (up - along * jnp.cos(state[2])) ** 2
    return jnp.exp(-0.5 * off / 1.2**2) + jnp.exp(-0.5 * (up**2 + (across / 2) ** 2) / 1.5**2)


def log_transition(state: Array) -> Array:
    """Return log p(s' | s, a), in nats, of a state [9] of the world: s [4], a [1] and s' [4]."""
    off = (state[5:] - move(state[:4], state[4])) / jnp.asarray(DEVIATIONS, state.dtype)
    return -0.5 * jnp.sum(off**2) - float(np.sum(np.log(DEVIATIONS * np.sqrt(2 * np.pi))))


def make(noise: float = 0.02, horizon: int = 1) -> World:
    """Return the world of observations [16, 24, 2], whose states are s [4], the command a [1] and the next s' [4].

    The two views are the observations of s and s', and the condition is a, in units of 10 N. The density is that of the
    observation of s, by the area formula, with s from the Gaussian law of the linearised loop.

    Args:
      noise: Standard deviation of the noise of each view.
      horizon: Largest number of steps from s to s', H. If it is above 1, the number n is uniform in 1 .. H, the states
        are s, n commands and H - n zeros, n ones and H - n zeros, and s', [2 H + 8], and the condition is what stands
        between s and s'.
    """
    root = jnp.asarray(np.linalg.cholesky(gains()[1]), jnp.float32)
    scale = np.full(1, MAX_FORCE) if horizon == 1 else np.repeat([MAX_FORCE, 1.0], horizon)

    def frame(state: Array) -> tuple[Array, Array]:
        return jnp.linalg.qr(jax.jacfwd(observe)(state[:4]).reshape(-1, 4))

    def log_density(state: Array) -> Array:
        white = jax.scipy.linalg.solve_triangular(root, state[:4], lower=True)
        log_volume = jnp.sum(jnp.log(jnp.abs(jnp.diag(frame(state)[1]))) + jnp.log(jnp.diag(root)))
        return -0.5 * jnp.sum(white**2) - 2 * jnp.log(2 * jnp.pi) - log_volume

    def step(s: Array, key: Array) -> tuple[Array, Array]:
        explore, process = jax.random.split(key)
        a = jnp.clip(command(s) + EXPLORATION * jax.random.normal(explore, (), jnp.float32), -MAX_FORCE, MAX_FORCE)
        return move(s, a) + jnp.asarray(DEVIATIONS, jnp.float32) * jax.random.normal(process, (4,), jnp.float32), a

    def draw(key: Array) -> Array:
        start, *keys = jax.random.split(key, 1 + horizon + (horizon > 1))
        s = root @ jax.random.normal(start, (4,), jnp.float32)
        if horizon == 1:
            after, a = step(s, keys[0])
            return jnp.concatenate([s, a[None], after])
        taken = jnp.arange(horizon) < jax.random.randint(keys[-1], (), 1, horizon + 1)

        def tick(now: Array, given: tuple[Array, Array]) -> tuple[Array, Array]:
            after, a = step(now, given[0])
            return jnp.where(given[1], after, now), jnp.where(given[1], a, 0)

        after, commands = jax.lax.scan(tick, s, (jnp.stack(keys[:-1]), taken))
        return jnp.concatenate([s, commands, taken.astype(s.dtype), after])

    def views(key: Array, state: Array) -> tuple[Array, Array]:
        e = noise * jax.random.normal(key, (2, HEIGHT, WIDTH, 2), state.dtype)
        return observe(state[:4]) + e[0], observe(state[-4:]) + e[1]

    return World(
        "cartpole" if horizon == 1 else "cartpole_ahead",
        (HEIGHT, WIDTH, 2),
        noise,
        draw,
        log_density,
        views,
        render=lambda state: observe(state[:4]),
        tangent=lambda state: frame(state)[0],
        manifold_dim=4,
        condition=lambda state: state[4:-4] / jnp.asarray(scale, state.dtype),
    )
