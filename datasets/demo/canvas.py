"""A pinhole camera's picture with the true depth of every pixel, painted surface by surface.

World axes: x right, y up, z ahead, in metres. Colours are RGB float32 in [0, 1].
"""

import cv2
import numpy as np

NEAREST = 0.2  # metres; nothing closer to the camera is drawn
SUPERSAMPLING = 2  # drawn pixels a finished pixel, along each side


class Canvas:
    """Surfaces may be painted in any order: the nearest one stays visible."""

    def __init__(self, size, position, yaw=0.0, pitch=0.0, view=60.0, horizon=0.5):
        """size: (H, W) in pixels. position: x, y, z of the camera. yaw (to the right), pitch (up) and the horizontal
        angle of view in degrees. horizon: where the line of sight meets the picture, 0 at its top, 1 at its bottom."""
        self.size = size
        self.height, self.width = (SUPERSAMPLING * side for side in size)
        self.position = np.asarray(position, np.float64)
        self.level = yaw == 0 and pitch == 0
        self.focal = self.width / 2 / np.tan(np.radians(view) / 2)
        self.centre = (self.width / 2 - 0.5, self.height * horizon - 0.5)
        yaw, pitch = np.radians([yaw, pitch])
        right = [np.cos(yaw), 0, -np.sin(yaw)]
        ahead = [np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)]
        axes = np.stack([right, -np.cross(ahead, right), ahead], axis=1)
        lens = [[1 / self.focal, 0, -self.centre[0] / self.focal], [0, 1 / self.focal, -self.centre[1] / self.focal]]
        self.ray = axes @ np.array([*lens, [0, 0, 1]])  # (column, row, 1) to the point seen there at depth 1
        self.colour = np.zeros((self.height, self.width, 3), np.float32)
        self.closeness = np.zeros((self.height, self.width), np.float32)  # 1 / depth; 0 is the sky

    def paint(self, corner, along, down, texture, light=1.0):
        """Paint the parallelogram with the points corner + u * along + v * down, u and v in [0, 1].

        texture: h x w x 3, or h x w x 4 with an opacity that cuts a shape out. light: factor on the colour.
        """
        plane = np.stack([along, down, np.asarray(corner) - self.position], axis=1)
        if abs(np.linalg.det(plane)) < 1e-9:  # seen edge-on
            return
        warp = np.linalg.inv(plane) @ self.ray  # (column, row, 1) to (u, v, 1) / depth: a homography
        rows, columns = self._window(corner, along, down)
        x, y = np.arange(columns.start, columns.stop)[None], np.arange(rows.start, rows.stop)[:, None]
        u, v, closeness = ((a * x + (b * y + c)).astype(np.float32) for a, b, c in warp)
        seen = (u >= 0) & (u <= closeness) & (v >= 0) & (v <= closeness) & (closeness < 1 / NEAREST)
        seen &= closeness > self.closeness[rows, columns]
        if not seen.any():
            return
        texture = _shrunk(texture, along, down, np.median(closeness[seen]) * self.focal)
        scale = np.diag([texture.shape[1], texture.shape[0], 1.0])
        scale[:2, 2] = -0.5  # texel centres lie at half-integers of u * w, v * h
        shift = np.array([[1, 0, columns.start], [0, 1, rows.start], [0, 0, 1]])
        options = {"flags": cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, "borderMode": cv2.BORDER_REPLICATE}
        seen_colour = cv2.warpPerspective(texture, scale @ warp @ shift, seen.shape[::-1], **options)
        if texture.shape[2] == 4:
            seen &= seen_colour[..., 3] > 0.5
        self.colour[rows, columns][seen] = seen_colour[..., :3][seen] * light
        self.closeness[rows, columns][seen] = closeness[seen]

    def box(self, low, high, side, top=None, front=None, light=(1.0, 0.75, 1.15)):
        """Paint the box between two corners with textures for its sides, top and front.

        light: factors for the front and back, for the left and right, and for the top.
        """
        (x0, y0, z0), (x1, y1, z1) = low, high
        wide, deep, tall = (x1 - x0, 0, 0), (0, 0, z1 - z0), (0, y0 - y1, 0)
        if self.position[2] < z0:
            self.paint((x0, y1, z0), wide, tall, side if front is None else front, light[0])
        if self.position[0] < x0:
            self.paint((x0, y1, z1), (0, 0, z0 - z1), tall, side, light[1])
        if self.position[0] > x1:
            self.paint((x1, y1, z0), deep, tall, side, light[1])
        if self.position[1] > y1:
            self.paint((x0, y1, z1), wide, (0, 0, z0 - z1), side if top is None else top, light[2])
        if self.position[1] < y0:
            self.paint((x0, y0, z0), wide, deep, side, 0.5)

    def billboard(self, foot, width, height, texture, light=1.0):
        """Paint an upright cut-out facing the camera's z, standing on `foot`."""
        x, y, z = foot
        self.paint((x - width / 2, y + height, z), (width, 0, 0), (0, -height, 0), texture, light)

    def terrain(self, heights, depths, colour):
        """Paint ground seen by a level camera (yaw and pitch 0).

        heights: N x W metres, the ground's height under drawn column w at depths[n]; depths: N, ascending.
        colour: called with x and z in metres and n, all drawn H x W, of what each pixel sees; returns H x W x 3.
        """
        assert self.level and heights.shape == (len(depths), self.width)
        y = self.centre[1] - self.focal * (heights - self.position[1]) / depths[:, None]
        skyline, row = np.minimum.accumulate(y, axis=0), np.arange(self.height)
        step = np.stack([np.searchsorted(-column, -row) for column in skyline.T], axis=1)  # the first step seen
        seen = (step > 0) & (step < len(depths))
        step = np.clip(step, 1, len(depths) - 1)
        below, above = (np.take_along_axis(y, step - back, axis=0) for back in (1, 0))
        fraction = np.clip((below - row[:, None]) / np.maximum(below - above, 1e-6), 0, 1)
        closeness = (1 / depths[step - 1] * (1 - fraction) + 1 / depths[step] * fraction).astype(np.float32)
        seen &= closeness > self.closeness
        x = self.position[0] + (np.arange(self.width) - self.centre[0]) / self.focal / closeness
        self.colour[seen] = colour(x, self.position[2] + 1 / closeness, step)[seen]
        self.closeness[seen] = closeness[seen]

    def sky(self, texture):
        """Fill what nothing has been painted on with h x w x 3 `texture`, stretched over the picture."""
        free = self.closeness == 0
        self.colour[free] = cv2.resize(texture, (self.width, self.height))[free]

    def finish(self, sky_depth):
        """Return clear (H x W x 3 in [0, 1]) and depth (H x W, metres, at most sky_depth), float32, anti-aliased."""
        shape = self.size[::-1]
        clear = cv2.resize(self.colour, shape, interpolation=cv2.INTER_AREA)
        closeness = cv2.resize(self.closeness, shape, interpolation=cv2.INTER_AREA)
        return np.clip(clear, 0, 1), 1 / np.maximum(closeness, 1 / sky_depth)

    def _window(self, corner, along, down):
        """The rows and columns, as slices, that a parallelogram can cover; all of them if it reaches past the lens."""
        corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) @ np.array([along, down]) + corner - self.position
        across, up, depth = np.linalg.inv(self.ray) @ corners.T
        if depth.min() < NEAREST:
            return slice(0, self.height), slice(0, self.width)
        limits = []
        for place, side in ((up / depth, self.height), (across / depth, self.width)):
            limits.append(slice(*np.clip([np.floor(place.min()), np.ceil(place.max()) + 1], 0, side).astype(int)))
        return tuple(limits)


def _shrunk(texture, along, down, pixels_per_metre):
    """The texture at about the resolution at which it is seen, so that distant detail does not flicker."""
    height, width = texture.shape[:2]
    seen = [max(1, int(1.5 * pixels_per_metre * np.linalg.norm(edge))) for edge in (along, down)]
    if seen[0] >= width and seen[1] >= height:
        return texture
    return cv2.resize(texture, (min(width, seen[0]), min(height, seen[1])), interpolation=cv2.INTER_AREA)
