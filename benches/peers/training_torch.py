"""Training steps in PyTorch, run eagerly."""
import torch
import torchvision
from torch import nn
from torch.nn import functional as F


def use_threads(threads):
    torch.set_num_threads(threads)


def stepping(network, optimizer, limit, loss):
    """A whole step, the global norm of the gradients clipped at a limit."""

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        nn.utils.clip_grad_norm_(network.parameters(), limit)
        optimizer.step()

    return step


class Layer(nn.Module):
    """Convolution, batch norm, ReLU; padding given for each side of each axis."""

    def __init__(self, cin, cout, kernel, stride=1, padding=0, norm="frozen", relu=True):
        super().__init__()
        conv, batch_norm = {2: (nn.Conv2d, nn.BatchNorm2d), 3: (nn.Conv3d, nn.BatchNorm3d)}[len(kernel)]
        self.padding = padding
        self.conv = conv(cin, cout, kernel, stride)
        self.norm = batch_norm(cout, eps=1e-3, momentum=0.01) if norm else None
        self.frozen, self.relu = norm == "frozen", relu

    def forward(self, x):
        if self.padding:
            sides = [side for axis in reversed(self.padding) for side in axis]
            if all(before == after for before, after in self.padding):
                self.conv.padding = tuple(before for before, _ in self.padding)
            else:
                x = F.pad(x, sides)
        x = self.conv(x)
        if self.norm:
            self.norm.train(not self.frozen)
            x = self.norm(x)
        return F.relu(x, inplace=True) if self.relu else x


def same(kernel):
    return [((k - 1) // 2, k // 2) for k in kernel]


class Twitch(nn.Module):
    def __init__(self):
        super().__init__()
        layers = [Layer(1, 16, [15, 5, 5], (1, 2, 2), [(7, 7), (1, 2), (1, 2)], norm="batch")]
        layers += [Layer(16, 16, [15, 3, 3], 1, same([15, 3, 3]), norm="batch") for _ in range(4)]
        self.front = nn.Sequential(*layers)
        dense = lambda widths: [part for a, b in zip(widths, widths[1:]) for part in (nn.Linear(a, b), nn.ReLU(True))]
        self.features = nn.Sequential(*dense([1024, 1024, 512, 256]))
        self.gru = nn.GRU(256, 512, batch_first=True, bidirectional=True)
        self.head = nn.Sequential(*dense([1024, 1024, 512]), nn.Linear(512, 1))

    def forward(self, crops):
        x = self.front(crops).permute(0, 2, 3, 4, 1).flatten(2)
        return self.head(self.gru(self.features(x))[0])[..., 0]


def twitch():
    network = Twitch()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, eps=1e-7)
    crops, truth = torch.randn(32, 1, 400, 16, 16), torch.randn(32, 400)
    factor = 1 / truth.abs().amax(1, keepdim=True)

    def loss():
        return ((factor * network(crops) - factor * truth) ** 2).mean()

    return stepping(network, optimizer, 1.0, loss)


class Bottleneck(nn.Module):
    def __init__(self, cin, widths, stride, shortcut):
        super().__init__()
        m1, m2, m3 = widths
        self.body = nn.Sequential(
            Layer(cin, m1, [1, 1], stride), Layer(m1, m2, [3, 3], 1, same([3, 3])), Layer(m2, m3, [1, 1], relu=False))
        self.shortcut = Layer(cin, m3, [1, 1], stride, relu=False) if shortcut else nn.Identity()

    def forward(self, x):
        return F.relu(self.body(x) + self.shortcut(x), inplace=True)


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        stem = [(8, 16, 7, 5), (16, 32, 5, 4), (32, 64, 5, 4)]
        parts = [Layer(1, 8, [7, 7, 7], (5, 2, 2), [(1, 1), (2, 3), (2, 3)], norm="batch")]
        for cin, cout, taps, pool in stem:
            parts += [Layer(cin, cout, [taps, 3, 3], 1, same([taps, 3, 3]), norm="batch"), nn.MaxPool3d((pool, 1, 1))]
        self.stem = nn.Sequential(*parts)
        self.stages, self.lateral, self.output = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        cin = 64
        for blocks, widths, stride in [(3, (64, 64, 256), 1), (4, (128, 128, 512), 2), (23, (256, 256, 1024), 2),
                                       (3, (512, 512, 2048), 2)]:
            stage = []
            for block in range(blocks):
                stage.append(Bottleneck(cin, widths, stride if block == 0 else 1, block == 0))
                cin = widths[2]
            self.stages.append(nn.Sequential(*stage))
            self.lateral.append(nn.Conv2d(cin, 256, 1))
            self.output.append(nn.Conv2d(256, 256, 3, padding=1))
        self.rpn = Layer(256, 512, [3, 3], 1, same([3, 3]), norm=None)
        self.rpn_class, self.rpn_box = nn.Conv2d(512, 6, 1), nn.Conv2d(512, 12, 1)
        self.box_head = nn.Sequential(Layer(256, 1024, [7, 7]), Layer(1024, 1024, [1, 1]), nn.Flatten())
        self.classes, self.boxes = nn.Linear(1024, 2), nn.Linear(1024, 8)
        convs = [Layer(256, 256, [3, 3], 1, same([3, 3])) for _ in range(4)]
        self.mask_head = nn.Sequential(*convs, nn.ConvTranspose2d(256, 256, 2, 2), nn.ReLU(True), nn.Conv2d(256, 2, 1))

    def forward(self, recordings, rois, mask_rois):
        """Rois: for each level a list of boxes for each image, in cells of that level."""
        x = self.stem(recordings)[:, :, 0]
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        merged = None
        pyramid = []
        for level in reversed(range(4)):
            lateral = self.lateral[level](maps[level])
            merged = lateral if merged is None else lateral + F.interpolate(merged, scale_factor=2, mode="nearest")
            pyramid.insert(0, self.output[level](merged))
        scores, deltas = [], []
        for level in pyramid + [pyramid[-1][:, :, ::2, ::2]]:
            shared = self.rpn(level)
            scores.append(self.rpn_class(shared).permute(0, 2, 3, 1).reshape(len(shared), -1, 2))
            deltas.append(self.rpn_box(shared).permute(0, 2, 3, 1).reshape(len(shared), -1, 4))
        crop = lambda boxes, size: torch.cat(
            [torchvision.ops.roi_align(map, part, size, sampling_ratio=1) for map, part in zip(pyramid, boxes)])
        box = self.box_head(crop(rois, 7))
        masks = self.mask_head(crop(mask_rois, 14))
        return torch.cat(scores, 1), torch.cat(deltas, 1), self.classes(box), self.boxes(box), masks


def detector():
    batch, rois, positives, anchors = 8, 200, 66, 4092
    network = Detector()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-4)

    def boxes(count):
        levels = []
        for level, cells in enumerate([32, 16, 8, 4]):
            n = count // 4 + (level < count % 4)
            corner = torch.rand(batch, n, 2) * (cells - 2)
            levels.append(list(torch.cat([corner, corner + 1 + torch.rand(batch, n, 2)], 2)))
        return levels

    inputs = (torch.randn(batch, 1, 400, 64, 64), boxes(rois), boxes(positives))
    labels = torch.randint(0, 2, (batch, 256))
    chosen = torch.randint(0, anchors, (batch, 256))
    classes = torch.randint(0, 2, (batch * rois,))
    masks = torch.randint(0, 2, (batch * positives, 28, 28)).float()

    def loss():
        scores, deltas, logits, refined, mask_logits = network(*inputs)
        picked = lambda values: torch.gather(values, 1, chosen[..., None].expand(-1, -1, values.shape[2]))
        return (F.cross_entropy(picked(scores).reshape(-1, 2), labels.reshape(-1))
                + F.smooth_l1_loss(picked(deltas), torch.zeros(batch, 256, 4))
                + F.cross_entropy(logits, classes)
                + F.smooth_l1_loss(refined[:, 4:], torch.zeros(batch * rois, 4))
                + F.binary_cross_entropy_with_logits(mask_logits[:, 1], masks))

    return stepping(network, optimizer, 5.0, loss)
