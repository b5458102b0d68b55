"""From parameters to pictures: geometry buffers, then light, then the camera."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import MetaFaceError, unknown
from ..blurring import blurred, gaussian
from .appearance import background, paint
from .domains import DOMAIN
from .geometry import Mesh, Template, mesh, on_device, smooth
from .hashing import nearly_normal
from .parameters import DOMAINS, Identity, Nuisance
from .zbuffer import Buffers, depth_map, take, zbuffer

_DISTANCE = 9.0  # of the camera from the head, in half heads
_VIEW = 3.45  # height of the frame at the face, in half heads
_CENTRE = -0.10  # height of the middle of the frame
_FACE = 0.6  # depth of the plane that fills the frame as `_VIEW` says
_SMALLEST, _BATCH = 16, 16
_SAMPLES = 3  # along two pixels
_MIDDLE, _REACH = (0.0, -0.35, 0.0), 2.25  # the shadow map covers this ball


def buffers(heads: Mesh, model: Template, nuisance: Nuisance, height: int, width: int) -> Buffers:
    """Rasterise the heads as the camera sees them."""
    x, y, z = heads.points.unbind(-1)
    away = _DISTANCE - z
    focal = height * (_DISTANCE - _FACE) / _VIEW * nuisance.scale[:, None] / away
    moved = nuisance.shift * height / _VIEW
    near = _DISTANCE - 3.2
    screen = torch.stack(
        [width / 2 + moved[:, :1] + x * focal, height / 2 - moved[:, 1:] - (y - _CENTRE) * focal, 1 - near / away], -1
    )
    seen = zbuffer(screen, model.faces, height, width, model.one_sided, heads.hidden)
    image = seen.pixels // (height * width)
    canonical = model.canonical.expand_as(heads.points)
    corners = image[:, None] * len(model.canonical) + seen.corners
    values = _interpolate(torch.cat([heads.points, heads.normals, canonical], 2), corners, seen.weights)
    position, normal, canonical = values[:, :3], values[:, 3:6], values[:, 6:]
    view = F.normalize(torch.tensor([0.0, 0.0, _DISTANCE], device=x.device) - position, dim=1)
    normal = F.normalize(normal, dim=1)
    normal = torch.where((normal * view).sum(1, keepdim=True) < -0.15, -normal, normal)  # seen from behind
    material = take(model.material, take(seen.face.view(-1), seen.pixels))
    depth = torch.where(seen.depth < 1, near / (1 - seen.depth).clamp(min=1e-6), torch.inf)
    return Buffers(seen.pixels, image, canonical, position, normal, material, corners, seen.weights, depth)


def _interpolate(vertices: Tensor, corners: Tensor, weights: Tensor) -> Tensor:
    """Barycentric means `[P, C]` of the values `vertices` `[M, V, C]`: weighted sums of rows, so an embedding bag."""
    table = vertices.reshape(-1, vertices.shape[2])
    return F.embedding_bag(corners, table, per_sample_weights=weights, mode="sum")


def light_direction(nuisance: Nuisance) -> Tensor:
    """Unit vectors `[M, 3]` from the head towards the light."""
    azimuth, elevation = torch.deg2rad(nuisance.azimuth), torch.deg2rad(nuisance.elevation)
    return torch.stack([azimuth.sin() * elevation.cos(), elevation.sin(), azimuth.cos() * elevation.cos()], 1)


def shadow(heads: Mesh, model: Template, light: Tensor, found: Buffers, size: int) -> Tensor:
    """How much of the directed light reaches each sample `[P]`, 0 to 1: what the light sees is lit (a shadow map)."""
    up = torch.tensor([0.0, 1.0, 0.0], device=light.device).expand_as(light)
    right = F.normalize(torch.linalg.cross(up, light, dim=1), dim=1)
    up = torch.linalg.cross(light, right, dim=1)
    axes = torch.stack([right, -up, -light], 1)  # [M, 3, 3]: column, row, depth
    middle = torch.tensor(_MIDDLE, device=light.device)
    unit = torch.tensor([size / (2 * _REACH), size / (2 * _REACH), 1 / (4 * _REACH)], device=light.device)
    origin = torch.tensor([size / 2, size / 2, 0.5], device=light.device)
    screen = (heads.points - middle) @ axes.transpose(1, 2) * unit + origin
    depth = depth_map(screen, model.faces, size, size, model.one_sided, heads.hidden)

    lifted = screen + (0.045 * heads.normals) @ axes.transpose(1, 2) * unit  # off the surface: no self-shadow
    column, row, far = _interpolate(lifted, found.corners, found.weights).unbind(1)
    column, row = column - 0.5, row - 0.5
    c0, r0 = column.floor(), row.floor()
    fc, fr = column - c0, row - r0
    flat = depth.view(-1)
    lit = torch.zeros_like(far)
    for dr, wr in ((0, 1 - fr), (1, fr)):
        for dc, wc in ((0, 1 - fc), (1, fc)):
            r, c = (r0 + dr).clamp(0, size - 1).long(), (c0 + dc).clamp(0, size - 1).long()
            behind = far - take(flat, (found.image * size + r) * size + c)
            lit = lit + wr * wc * (1 - smooth(0.002, 0.010, behind))
    return lit


def shade(found: Buffers, heads: Mesh, model: Template, identity: Identity, nuisance: Nuisance, height: int) -> Tensor:
    """Linear RGB `[P, 3]`: albedo under ambient and directed light, with highlights and cast shadows."""
    image = found.image
    look = paint(found.canonical, found.material, image, identity, nuisance, _VIEW / height)
    light = light_direction(nuisance)
    lit = shadow(heads, model, light, found, max(64, 3 * height // 4))
    direction, normal = take(light, image), found.normal
    cosine = (normal * direction).sum(1)
    # Light bleeds around the edge of the shade in skin, red farther than green and blue.
    bleed = look.soft[:, None] * torch.tensor([0.22, 0.09, 0.05], device=light.device)
    diffuse = ((cosine[:, None] + bleed) / (1 + bleed)).clamp(min=0)
    visible = lit[:, None] + (lit.sqrt() - lit)[:, None] * bleed * 2
    view = F.normalize(torch.tensor([0.0, 0.0, _DISTANCE], device=light.device) - found.position, dim=1)
    half = F.normalize(view + direction, dim=1)
    facing = (normal * view).sum(1).clamp(0, 1)
    shine = (normal * half).sum(1).clamp(0, 1)
    rim = (1 - facing) ** 2
    sheen = 0.035 + 0.25 * rim * rim  # Fresnel
    broad = (shine**2) ** 2
    broad = broad * broad
    tight = (broad**2) ** 2
    highlight = look.gloss * sheen * (3.2 * tight + broad) * lit * (cosine > 0)
    share = take(nuisance.ambient, image)[:, None]
    sky = 0.72 + 0.28 * normal[:, 1:2] + 0.12 * normal[:, 2:3]
    hidden = 0.55 + 0.45 * facing[:, None]  # crevices and rims get less of the ambient light
    around = share * sky * hidden
    beam = (1 - 0.55 * share) * 1.9 * take(nuisance.light, image)
    return look.albedo * (around * 1.25 + beam * diffuse * visible) + beam * highlight[:, None]


def camera(linear: Tensor, nuisance: Nuisance) -> Tensor:
    """Expose, blur, quantise: linear RGB or grey `[M, C, H, W]` to uint8 RGB, `[M, 3, H, W]`."""
    _, channels, height, width = linear.shape
    light = linear * (nuisance.exposure[:, None] * nuisance.white)[:, :, None, None]
    light = light / (1 + 0.12 * light)  # a soft shoulder instead of hard clipping
    spread = (nuisance.blur * height / 64).clamp(min=0.05)
    weights = gaussian(spread, max(1, round(2 * height / 64)), linear.device)
    light = blurred(light, weights).clamp(0, 1)
    display = torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light.clamp(min=1e-6) ** (1 / 2.4) - 0.055)
    grain = nearly_normal(nuisance.seed, channels * height * width).view_as(linear)
    levels = (display * 255 + grain * nuisance.noise[:, None, None, None]).round().clamp(0, 255).to(torch.uint8)
    return levels.expand(-1, 3, -1, -1)


def render(
    identity: Identity,
    nuisance: Nuisance,
    size: int = 64,
    device: torch.device | str = "cpu",
    domain: str = "photo",
) -> Tensor:
    """Pictures of M people, uint8 `[M, 3, size, size]`.

    identity: who is on each picture.
    nuisance: how each picture is taken.
    size: height and width in pixels.
    device: where to render.
    domain: one of `DOMAINS`, see `domains`. Near-infrared, edges and thermal are grey, three times the same channel.

    Raises `MetaFaceError` for an unknown domain, a size below 16, or different numbers of rows.
    """

    def work(who: Identity, how: Nuisance) -> tuple[Tensor, ...]:
        who, how = DOMAIN[domain].subject(who, how)
        return (camera(_expose(who, how, size, domain)[0], how),)

    return _in_batches(work, identity, nuisance, size, device, domain)[0]


def render_with_mask(
    identity: Identity,
    nuisance: Nuisance,
    size: int = 64,
    device: torch.device | str = "cpu",
    domain: str = "photo",
) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures, silhouettes and empty backgrounds: what the controls need. The parameters are those of `render`.

    Returns pictures, uint8 `[M, 3, size, size]`; the share of each pixel that is not background, uint8
    `[M, 1, size, size]`; and the pictures without anybody on them, uint8 `[M, 3, size, size]`.
    """

    def work(who: Identity, how: Nuisance) -> tuple[Tensor, ...]:
        who, how = DOMAIN[domain].subject(who, how)
        picture, cover, empty = _expose(who, how, size, domain)
        return camera(picture, how), (cover * 255).round().to(torch.uint8), camera(empty, how)

    pictures, silhouettes, backgrounds = _in_batches(work, identity, nuisance, size, device, domain)
    return pictures, silhouettes, backgrounds


def _in_batches(
    work: Callable[[Identity, Nuisance], tuple[Tensor, ...]],
    identity: Identity,
    nuisance: Nuisance,
    size: int,
    device: torch.device | str,
    domain: str,
) -> tuple[Tensor, ...]:
    """Run `work` on small batches and join its results.

    On a CPU each core takes a batch of its own. If each of thousands of small operations were divided among the cores,
    the cores would wait for each other, and even longer on a busy machine.
    """
    if domain not in DOMAINS:
        raise unknown("domain", domain, DOMAINS)
    if size < _SMALLEST:
        raise MetaFaceError(f"size must be at least {_SMALLEST} pixels, for a face to be seen, but is {size}.")
    if len(identity) != len(nuisance):
        raise MetaFaceError(
            f"identity and nuisance need one row per picture each, but have {len(identity)} and {len(nuisance)} rows."
            " Repeat the rows of the one that is shorter: identity[index]."
        )
    step = max(1, _BATCH * 64 * 64 // (size * size))
    batches = [slice(start, start + step) for start in range(0, len(identity), step)]

    def one(rows: slice) -> tuple[Tensor, ...]:
        return work(identity[rows].to(device), nuisance[rows].to(device))

    if torch.device(device).type == "cpu":
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(threads) as pool:
                done = list(pool.map(one, batches))
        finally:
            torch.set_num_threads(threads)
    else:
        done = [one(rows) for rows in batches]
    return tuple(torch.cat(column) for column in zip(*done, strict=True))


@torch.no_grad()
def _expose(identity: Identity, nuisance: Nuisance, size: int, domain: str) -> tuple[Tensor, Tensor, Tensor]:
    """What falls on the sensor. Each pixel is the mean of the four samples that it touches.

    Returns the scene, linear `[M, C, H, W]`, C = 1 (grey) or 3 (RGB); the share of each pixel that is not background,
    `[M, 1, H, W]`; and the background alone.
    """
    fine = _SAMPLES * size // 2
    model = on_device(1.0 if size > 96 else 0.55, identity.shape.device)
    heads = mesh(identity, nuisance, model)
    found = buffers(heads, model, nuisance, fine, fine)
    colour = shade(found, heads, model, identity, nuisance, fine)
    empty = background(nuisance, fine, fine)
    canvas = empty.permute(0, 2, 3, 1).reshape(-1, 3)
    canvas[found.pixels] = colour.clamp(0, 1.3)
    scene = canvas.view(len(identity), fine, fine, 3).permute(0, 3, 1, 2)
    cover = torch.isfinite(found.depth).to(colour.dtype)[:, None]
    picture = DOMAIN[domain].picture
    scene, empty = picture(scene, found, nuisance), picture(empty, None, nuisance)
    pool = F.adaptive_avg_pool2d
    return pool(scene, size), pool(cover, size), pool(empty, size)
