// A pretend CUDA device for a torch without CUDA: two devices over host memory, with a guard and
// streams that can be looked at. Together with the real registration of the operators and the
// emulated kernels it shows that CUDA tensors take the CUDA key, that the device is switched and
// switched back, and which stream a kernel gets. It replaces parts of torch: for a process of its
// own, and never beside a torch with CUDA.
#include <ATen/EmptyTensor.h>
#include <ATen/core/Tensor.h>
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <cstring>
#include <new>

#include "simt/engine.h"

namespace {

constexpr c10::DeviceIndex kDevices = 2;

c10::DeviceIndex current = 0;
c10::StreamId streams[kDevices] = {};
int64_t current_at_launch = -1;  // when the operator asked for its stream

c10::Device device(c10::DeviceIndex index) { return {c10::DeviceType::CUDA, index}; }

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return c10::DeviceType::CUDA; }
  c10::Device getDevice() const override { return device(current); }
  void setDevice(c10::Device to) const override { current = to.index(); }
  void uncheckedSetDevice(c10::Device to) const noexcept override { setDevice(to); }
  c10::Device exchangeDevice(c10::Device to) const override {
    const c10::Device before = getDevice();
    setDevice(to);
    return before;
  }
  c10::Stream getStream(c10::Device of) const override {
    return c10::Stream(c10::Stream::UNSAFE, of, streams[of.index()]);
  }
  c10::Stream exchangeStream(c10::Stream to) const override {
    const c10::Stream before = getStream(to.device());
    streams[to.device_index()] = to.id();
    return before;
  }
  void* getStreamNativeHandle(const c10::Stream stream) const override {
    current_at_launch = current;
    return reinterpret_cast<void*>(stream.id());
  }
  c10::DeviceIndex deviceCount() const noexcept override { return kDevices; }
};
C10_REGISTER_GUARD_IMPL(CUDA, Guard);

struct Memory final : c10::Allocator {
  static constexpr std::align_val_t kAlignment{256};
  static void release(void* data) { ::operator delete(data, kAlignment); }
  c10::DataPtr allocate(size_t bytes) override {
    void* data = bytes ? ::operator new(bytes, kAlignment) : nullptr;
    return {data, data, &release, device(current)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
} memory;

at::Tensor make(c10::Device where, at::IntArrayRef size, at::ScalarType type) {
  const c10::DeviceGuard guard(where);
  const c10::DispatchKeySet keys(c10::DispatchKey::CUDA);
  return at::detail::empty_generic(size, &memory, keys, type, std::nullopt);
}

at::Tensor empty(at::IntArrayRef size, std::optional<at::ScalarType> type,
                 std::optional<at::Layout>, std::optional<at::Device> where, std::optional<bool>,
                 std::optional<at::MemoryFormat>) {
  return make(where.value_or(device(current)), size, type.value_or(at::kFloat));
}

at::Tensor to_cuda(const at::Tensor& tensor, int64_t index) {
  const at::Tensor source = tensor.contiguous();
  at::Tensor copy =
      make(device(static_cast<c10::DeviceIndex>(index)), source.sizes(), source.scalar_type());
  std::memcpy(copy.mutable_data_ptr(), source.const_data_ptr(), source.nbytes());
  return copy;
}

at::Tensor to_cpu(const at::Tensor& tensor) {
  const c10::DispatchKeySet keys(c10::DispatchKey::CPU);
  at::Tensor copy = at::detail::empty_generic(tensor.sizes(), c10::GetCPUAllocator(), keys,
                                              tensor.scalar_type(), std::nullopt);
  std::memcpy(copy.mutable_data_ptr(), tensor.const_data_ptr(), tensor.nbytes());
  return copy;
}

}  // namespace

TORCH_LIBRARY(fake_cuda, m) {
  m.def("to_cuda(Tensor tensor, int index) -> Tensor");
  m.def("to_cpu(Tensor tensor) -> Tensor");
  m.def("set_stream(int index, int id) -> ()",
        [](int64_t index, int64_t id) { streams[index] = id; });
  m.def("current_device() -> int", [] { return static_cast<int64_t>(current); });
  m.def("current_at_launch() -> int", [] { return current_at_launch; });
  m.def("stream_of_last_launch() -> int",
        [] { return reinterpret_cast<int64_t>(simt::last_stream()); });
  m.def("launches() -> int", [] { return static_cast<int64_t>(simt::launches()); });
}
TORCH_LIBRARY_IMPL(fake_cuda, CPU, m) { m.impl("to_cuda", &to_cuda); }
TORCH_LIBRARY_IMPL(fake_cuda, CUDA, m) { m.impl("to_cpu", &to_cpu); }
TORCH_LIBRARY_IMPL(aten, CUDA, m) { m.impl("empty.memory_format", &empty); }
