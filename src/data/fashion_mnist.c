#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tensorc/data.h>

#include "fail.h"

#define PACKAGE        "dataset-fashion-mnist"
#define PACKAGE_FOLDER "/usr/share/datasets/fashion-mnist"
#define IMAGE_SIDE     28
#define CLASSES        10

static const char *const class_names[CLASSES] = {"T-shirt/top", "Trouser",   "Pullover", "Dress",
                                                 "Coat",        "Sandal",    "Shirt",    "Sneaker",
                                                 "Bag",         "Ankle boot"};

const char *tc_fashion_mnist_class(int64_t id)
{
    return id >= 0 && id < CLASSES ? class_names[id] : "?";
}

void tc_image_data_release(tc_image_data *data)
{
    if (!data)
        return;
    tc_tensor_release(data->train_images);
    tc_tensor_release(data->train_labels);
    tc_tensor_release(data->test_images);
    tc_tensor_release(data->test_labels);
    *data = (tc_image_data){0};
}

/* The file "<name>.gz", or "<name>" where somebody has unpacked it. */
static tc_status load_file(const char *folder, const char *name, tc_tensor **out)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%s.gz", folder, name) >= (int)sizeof path)
        return tc_data_fail(TC_INVALID_ARGUMENT, "fashion-mnist: the folder's path is too long");
    tc_status status = tc_idx_load(path, out);
    if (status != TC_NOT_FOUND)
        return status;
    path[strlen(path) - strlen(".gz")] = '\0';
    status = tc_idx_load(path, out);
    if (status != TC_NOT_FOUND)
        return status;
    return tc_data_fail(TC_NOT_FOUND,
                        "fashion-mnist: '%s' has no file %s.gz; install Debian's package " PACKAGE
                        " or name the folder that holds the data set",
                        folder, name);
}

static tc_status check_part(const char *part, const tc_tensor *images, const tc_tensor *labels)
{
    const tc_shape *i = tc_tensor_shape(images);
    const tc_shape *l = tc_tensor_shape(labels);
    if (tc_tensor_dtype(images) != TC_U8 || i->rank != 3 || i->dims[1].size != IMAGE_SIDE ||
        i->dims[2].size != IMAGE_SIDE)
        return tc_data_fail(TC_DATA_LOSS, "fashion-mnist: the %s images are not u8 [n, 28, 28]",
                            part);
    if (tc_tensor_dtype(labels) != TC_U8 || l->rank != 1 || l->dims[0].size != i->dims[0].size)
        return tc_data_fail(TC_DATA_LOSS,
                            "fashion-mnist: the %s labels are not one u8 for each image", part);
    const unsigned char *ids = tc_tensor_data(labels);
    for (int64_t k = 0; k < l->dims[0].size; k++)
        if (ids[k] >= CLASSES)
            return tc_data_fail(TC_DATA_LOSS, "fashion-mnist: %s label %lld is %d, not 0..9", part,
                                (long long)k, ids[k]);
    return TC_OK;
}

static tc_status load_all(const char *folder, tc_image_data *data)
{
    TC_TRY(load_file(folder, "train-images-idx3-ubyte", &data->train_images));
    TC_TRY(load_file(folder, "train-labels-idx1-ubyte", &data->train_labels));
    TC_TRY(load_file(folder, "t10k-images-idx3-ubyte", &data->test_images));
    TC_TRY(load_file(folder, "t10k-labels-idx1-ubyte", &data->test_labels));
    TC_TRY(check_part("training", data->train_images, data->train_labels));
    return check_part("test", data->test_images, data->test_labels);
}

tc_status tc_fashion_mnist_load(const char *folder, tc_image_data *out)
{
    if (!out)
        return tc_data_fail(TC_INVALID_ARGUMENT, "fashion-mnist: out is NULL");
    *out = (tc_image_data){0};
    const char *chosen = getenv("TENSORC_FASHION_MNIST");
    if (folder)
        chosen = folder;
    if (!chosen || !*chosen)
        chosen = PACKAGE_FOLDER;
    tc_status status = load_all(chosen, out);
    if (status != TC_OK)
        tc_image_data_release(out);
    return status;
}
