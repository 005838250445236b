/* The vector types of CUDA. */
#ifndef TC_CUDA_HOST_VECTOR_TYPES_H
#define TC_CUDA_HOST_VECTOR_TYPES_H

#define TC_VECTORS(type, name, a2, a4)                                   \
    struct alignas(a2) name##2                                           \
    {                                                                    \
        type x, y;                                                       \
    };                                                                   \
    struct name##3                                                       \
    {                                                                    \
        type x, y, z;                                                    \
    };                                                                   \
    struct alignas(a4) name##4                                           \
    {                                                                    \
        type x, y, z, w;                                                 \
    };                                                                   \
    struct name##1                                                       \
    {                                                                    \
        type x;                                                          \
    };                                                                   \
    static inline name##1 make_##name##1(type x)                         \
    {                                                                    \
        return {x};                                                      \
    }                                                                    \
    static inline name##2 make_##name##2(type x, type y)                 \
    {                                                                    \
        return {x, y};                                                   \
    }                                                                    \
    static inline name##3 make_##name##3(type x, type y, type z)         \
    {                                                                    \
        return {x, y, z};                                                \
    }                                                                    \
    static inline name##4 make_##name##4(type x, type y, type z, type w) \
    {                                                                    \
        return {x, y, z, w};                                             \
    }

TC_VECTORS(signed char, char, 2, 4)
TC_VECTORS(unsigned char, uchar, 2, 4)
TC_VECTORS(short, short, 4, 8)
TC_VECTORS(unsigned short, ushort, 4, 8)
TC_VECTORS(int, int, 8, 16)
TC_VECTORS(unsigned int, uint, 8, 16)
TC_VECTORS(long, long, 16, 16)
TC_VECTORS(unsigned long, ulong, 16, 16)
TC_VECTORS(long long, longlong, 16, 16)
TC_VECTORS(unsigned long long, ulonglong, 16, 16)
TC_VECTORS(float, float, 8, 16)
TC_VECTORS(double, double, 16, 16)
#undef TC_VECTORS

struct dim3 {
    unsigned int x, y, z;
    constexpr dim3(unsigned int x_ = 1, unsigned int y_ = 1, unsigned int z_ = 1)
        : x(x_), y(y_), z(z_)
    {
    }
    constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z)
    {
    }
    constexpr operator uint3() const
    {
        return {x, y, z};
    }
};

#endif
