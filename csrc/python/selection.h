#pragma once

#include <pybind11/pybind11.h>

namespace unmask::python {

// masked_positions, select, dapd_select, commit_, independent_set_csr and the fused steps.
void register_selection(pybind11::module_& m);

}  // namespace unmask::python
