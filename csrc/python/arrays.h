// numpy arrays as views, and a Status as a Python exception.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>

#include "core/bind.h"

namespace unmask::python {

namespace py = pybind11;

inline std::optional<DType> dtype_of(const std::string& name) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16, DType::kFloat16, DType::kInt32,
                            DType::kInt64, DType::kBool})
    if (name == name_of(dtype)) return dtype;
  return std::nullopt;
}

// The types that are numpy's own, told by two characters and a size: asking for a name runs Python.
inline std::optional<DType> native_dtype_of(const py::dtype& dtype) {
  if (dtype.byteorder() == '>') return std::nullopt;
  const auto is = [&](char kind, py::ssize_t size) {
    return dtype.kind() == kind && dtype.itemsize() == size;
  };
  if (is('f', 4)) return DType::kFloat32;
  if (is('f', 2)) return DType::kFloat16;
  if (is('i', 8)) return DType::kInt64;
  if (is('i', 4)) return DType::kInt32;
  if (is('b', 1)) return DType::kBool;
  return std::nullopt;
}

inline TensorView view(const char* name, const py::array& array) {
  TensorView result;
  result.name = name;
  result.data = const_cast<void*>(array.data());
  std::optional<DType> dtype = native_dtype_of(array.dtype());
  if (dtype) {
    result.dtype_name = name_of(*dtype);
  } else {
    result.dtype_name = py::cast<std::string>(array.dtype().attr("name"));
    dtype = dtype_of(result.dtype_name);
  }
  result.known_dtype = dtype.has_value();
  if (dtype) result.dtype = *dtype;
  result.rank = static_cast<int>(array.ndim());
  for (int d = 0; d < result.rank && d < kMaxRank; ++d) {
    result.size[d] = array.shape(d);
    result.stride[d] = array.strides(d) / array.itemsize();
  }
  return result;
}

inline TensorView view(const char* name, const std::optional<py::array>& array) {
  return array ? view(name, *array) : TensorView{};
}

inline void raise_unless_ok(const Status& status) {
  if (status.ok()) return;
  if (status.code() == Status::Code::kInvalidArgument) throw py::value_error(status.message());
  PyErr_SetString(
      status.code() == Status::Code::kUnsupported ? PyExc_NotImplementedError : PyExc_RuntimeError,
      status.message().c_str());
  throw py::error_already_set();
}

// Runs an operator on the calling thread, with Python free to go on.
template <class Args>
void run(const Args& args, Status (*on_cpu)(const Args&, const Executor&)) {
  Status status = Status::success();
  {
    const py::gil_scoped_release release;
    status = on_cpu(args, {});
  }
  raise_unless_ok(status);
}

}  // namespace unmask::python
