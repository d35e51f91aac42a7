"""ONNX Runtime: graphs of ONNX nodes, channels first."""
import numpy as np

from layers import channels_first, random, weights


class Layers:
    """Layers as nodes of an ONNX graph."""

    name = "ONNX Runtime"
    maps = staticmethod(channels_first)

    def __init__(self, shape, threads):
        self.nodes, self.constants, self.threads = [], [], threads
        self.shape, self.serial = shape, 0

    def new(self):
        self.serial += 1
        return f"v{self.serial}"

    def constant(self, array):
        from onnx import numpy_helper

        name = self.new()
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op, *inputs, outputs=1, **attributes):
        from onnx import helper

        names = [self.new() for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names[0]

    def conv(self, x, cin, cout, kernel, stride, padding, relu=True):
        w, b = weights(cout, cin, *kernel), random(cout, scale=0.1)
        pads = [before for before, _ in padding] + [after for _, after in padding]
        y = self.node("Conv", x, self.constant(w), self.constant(b), kernel_shape=kernel, strides=stride, pads=pads)
        return self.relu(y) if relu else y

    def deconv(self, x, channels):
        w, b = weights(channels, channels, 2, 2), random(channels, scale=0.1)
        return self.relu(self.node("ConvTranspose", x, self.constant(w), self.constant(b), strides=[2, 2]))

    def dense(self, x, cin, cout, relu=True):
        y = self.node("MatMul", x, self.constant(weights(cin, cout)))
        y = self.node("Add", y, self.constant(random(cout, scale=0.1)))
        return self.relu(y) if relu else y

    def gru(self, x, features, units, bidirectional):
        """[N,T,C] to [N,T,u] or [N,T,2u]."""
        d = 2 if bidirectional else 1
        x = self.transpose(x, [1, 0, 2])
        tensors = [weights(d, 3 * units, features), weights(d, 3 * units, units), random(d, 6 * units, scale=0.1)]
        direction = "bidirectional" if bidirectional else "forward"
        inputs = [self.constant(t) for t in tensors]
        y = self.node("GRU", x, *inputs, hidden_size=units, direction=direction, linear_before_reset=1)
        y = self.transpose(y, [2, 0, 1, 3])
        return self.reshape(y, [0, 0, d * units])

    def relu(self, x):
        return self.node("Relu", x)

    def sigmoid(self, x):
        return self.node("Sigmoid", x)

    def softmax(self, x):
        return self.node("Softmax", x, axis=-1)

    def add(self, a, b):
        return self.node("Add", a, b)

    def pool_time(self, x, window):
        return self.node("MaxPool", x, kernel_shape=[window, 1, 1], strides=[window, 1, 1])

    def upsample(self, x):
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        return self.node("Resize", x, "", scales, mode="nearest", nearest_mode="floor",
                         coordinate_transformation_mode="asymmetric")

    def every_second(self, x):
        return self.node("MaxPool", x, kernel_shape=[1, 1], strides=[2, 2])

    def transpose(self, x, order):
        return self.node("Transpose", x, perm=order)

    def channels_last(self, x, axes):
        return self.transpose(x, [0, *range(2, axes), 1])

    def reshape(self, x, shape):
        return self.node("Reshape", x, self.constant(np.array(shape, np.int64)))

    def concat(self, values, axis):
        return self.node("Concat", *values, axis=axis)

    def prepare(self, network):
        import onnxruntime as ort
        from onnx import TensorProto, helper

        outputs = network(self, "x")
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        infos = [helper.make_tensor_value_info(y, TensorProto.FLOAT, None) for y in outputs]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)
        graph = helper.make_graph(self.nodes, "network", [x], infos, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        data = random(*self.shape)
        return lambda: session.run(None, {"x": data})
