#pragma once

#include <pybind11/pybind11.h>

namespace unmask::python {

void register_attention(pybind11::module_& m);

}  // namespace unmask::python
