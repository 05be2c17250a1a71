// Each file of this room adds its functions to the module through one of these.
#pragma once

#include <pybind11/pybind11.h>

namespace unmask::python {

void register_attention(pybind11::module_& m);  // scores and dependency graph
void register_selection(pybind11::module_& m);  // positions, rules, commit, sparse sets
void register_step(pybind11::module_& m);       // the fused steps
void register_topk_confidence(pybind11::module_& m);

}  // namespace unmask::python
