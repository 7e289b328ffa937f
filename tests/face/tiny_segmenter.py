"""A segmentation model of a few hundred bytes in the form that MediaPipe Tasks reads: bright is background, dark is class 1."""

from pathlib import Path
from typing import Any

import numpy as np

from r2talker.face.graphs import load_solutions, quiet

SIDE = 32


def write_segmenter(path: Path, classes: int) -> Path:
    """One convolution of 1 x 1 pixels without activation, with the metadata that `ImageSegmenter` wants."""
    load_solutions()
    with quiet():
        import flatbuffers
        from mediapipe.tasks.metadata import schema_py_generated as schema
        from mediapipe.tasks.python.metadata.metadata_writers import image_segmenter
    weights = np.zeros((classes, 1, 1, 3), np.float32)
    # Colours come as -1 to 1.
    weights[0], weights[1] = 1 / 6, -1 / 6
    bias = np.zeros(classes, np.float32)
    bias[:2] = 0.5

    def buffer(values: np.ndarray | None) -> Any:
        made = schema.BufferT()
        made.data = None if values is None else np.frombuffer(values.tobytes(), np.uint8)
        return made

    def tensor(name: str, shape: tuple[int, ...], number: int) -> Any:
        made = schema.TensorT()
        made.name, made.shape, made.buffer, made.type = name, list(shape), number, schema.TensorType.FLOAT32
        return made

    options = schema.Conv2DOptionsT()
    options.padding, options.strideW, options.strideH = schema.Padding.SAME, 1, 1
    options.dilationWFactor = options.dilationHFactor = 1
    operator, code, graph, model = schema.OperatorT(), schema.OperatorCodeT(), schema.SubGraphT(), schema.ModelT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1, 2], [3]
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.Conv2DOptions, options
    graph.tensors = [
        tensor("picture", (1, SIDE, SIDE, 3), 0),
        tensor("weights", weights.shape, 1),
        tensor("bias", bias.shape, 2),
        tensor("classes", (1, SIDE, SIDE, classes), 0),
    ]
    graph.inputs, graph.outputs, graph.operators = [0], [3], [operator]
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [buffer(None), buffer(weights), buffer(bias)]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    with quiet():
        content, _ = image_segmenter.MetadataWriter.create(bytearray(builder.Output()), [127.5], [127.5]).populate()
    path.write_bytes(content)
    return path
