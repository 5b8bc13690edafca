// PyTorch's zip-and-pickle checkpoints (torch.save, format since 1.6), read without executing
// anything: the zip directory is parsed (stored entries only), data.pkl is interpreted by a small
// machine that knows the opcodes of protocol 2 and these globals only:
// torch._utils._rebuild_tensor_v2, torch._utils._rebuild_parameter, collections.OrderedDict and the
// torch.*Storage classes. Every other global is refused by name (error code unsupported).
#pragma once

#include <memory>
#include <string>

#include "io/tensor_source.h"

namespace krait {

/// Maps the file. Tensors that are contiguous views of their storage are borrowed from the mapping;
/// others are copied on get().
std::shared_ptr<TensorSource> open_torch_pickle(const std::string& path);
void validate_torch_pickle(const std::byte* data, std::size_t size, const std::string& where);

}  // namespace krait
