/* Wine 8 exports the C runtime's complex functions, but each ends the process: numpy 2 can't be
   imported. Here they are, by mingw's C library; everything else is forwarded to Wine's own
   ucrtbase (labchannel's wine.py writes those forwards).

   Microsoft's complex numbers are structures, and its long double is its double. */
#include <complex.h>

typedef struct { double re, im; } dcomplex;
typedef struct { float re, im; } fcomplex;

static double complex from_d(dcomplex z) { return __builtin_complex(z.re, z.im); }
static float complex from_f(fcomplex z) { return __builtin_complex(z.re, z.im); }
static dcomplex to_d(double complex z) { dcomplex r = {__real__ z, __imag__ z}; return r; }
static fcomplex to_f(float complex z) { fcomplex r = {__real__ z, __imag__ z}; return r; }

/* Named apart from the C library's own: wine.py exports wine_NAME as NAME. */
#define MAP(name) \
    dcomplex wine_##name(dcomplex z) { return to_d(name(from_d(z))); } \
    dcomplex wine_##name##l(dcomplex z) { return to_d(name(from_d(z))); } \
    fcomplex wine_##name##f(fcomplex z) { return to_f(name##f(from_f(z))); }

#define MEASURE(name) \
    double wine_##name(dcomplex z) { return name(from_d(z)); } \
    double wine_##name##l(dcomplex z) { return name(from_d(z)); } \
    float wine_##name##f(fcomplex z) { return name##f(from_f(z)); }

MAP(cacos) MAP(cacosh) MAP(casin) MAP(casinh) MAP(catan) MAP(catanh)
MAP(ccos) MAP(ccosh) MAP(cexp) MAP(clog) MAP(conj) MAP(cproj)
MAP(csin) MAP(csinh) MAP(csqrt) MAP(ctan) MAP(ctanh)
MEASURE(cabs) MEASURE(carg) MEASURE(cimag) MEASURE(creal)

dcomplex wine_cpow(dcomplex x, dcomplex y) { return to_d(cpow(from_d(x), from_d(y))); }
dcomplex wine_cpowl(dcomplex x, dcomplex y) { return to_d(cpow(from_d(x), from_d(y))); }
fcomplex wine_cpowf(fcomplex x, fcomplex y) { return to_f(cpowf(from_f(x), from_f(y))); }
