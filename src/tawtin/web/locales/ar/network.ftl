### الشبكة.

network-what = { $count ->
    [zero] لا مصانع يراها المصنع { $factory }.
    [one] مصنع واحد هو { $factory }، ولا يعرف غيره بعد.
    [two] مصنعان كما يراهما المصنع { $factory }. كل رقم من مصنع آخر هو قوله الموقّع.
    [few] { $count } مصانع كما يراها المصنع { $factory }. كل رقم من مصنع آخر هو قوله الموقّع.
    [many] { $count } مصنعاً كما يراها المصنع { $factory }. كل رقم من مصنع آخر هو قوله الموقّع.
   *[other] { $count } مصنع كما يراها المصنع { $factory }. كل رقم من مصنع آخر هو قوله الموقّع.
}
map-title = خريطة المصانع
map-table = الخريطة نفسها في جدول
cut = مقطوع
cut-link = انقطع الرابط { $here } – { $there }.
cut-since = لم يصل شيء منذ { $span }.
cut-what = يواصل المصنعان العمل كلٌّ بذاته، ولا يُشغَّل شيء مرتين.
cut-runs = { $count ->
    [zero] لا تشغيل مستمر في { $there }.
    [one] تشغيل واحد مستمر في { $there }، ومصنعه الأصلي ينتظره.
    [two] تشغيلان مستمران في { $there }، ومصنعهما الأصلي ينتظرهما.
    [few] { $count } تشغيلات مستمرة في { $there }، ومصنعها الأصلي ينتظرها.
    [many] { $count } تشغيلاً مستمراً في { $there }، ومصنعها الأصلي ينتظرها.
   *[other] { $count } تشغيل مستمر في { $there }، ومصنعها الأصلي ينتظرها.
}
cut-see = ما يعمل الآن
runs-out = { $count ->
    [zero] لا تشغيلات هناك
    [one] تشغيل واحد هناك
    [two] تشغيلان هناك
    [few] { $count } تشغيلات هناك
    [many] { $count } تشغيلاً هناك
   *[other] { $count } تشغيل هناك
}
runs-in = { $count ->
    [zero] لا تشغيلات من هناك
    [one] تشغيل واحد من هناك
    [two] تشغيلان من هناك
    [few] { $count } تشغيلات من هناك
    [many] { $count } تشغيلاً من هناك
   *[other] { $count } تشغيل من هناك
}
not-heard = لا يُسمع منه
not-said = لم يعلن شيئاً
gpus-used = وحدات GPU المستخدمة
gpus-of = { $used } من { $total } GPU
gpus-free = { $count ->
    [zero] لا وحدات GPU متاحة
    [one] وحدة GPU واحدة متاحة
    [two] وحدتا GPU متاحتان
    [few] { $count } وحدات GPU متاحة
    [many] { $count } وحدة GPU متاحة
   *[other] { $count } وحدة GPU متاحة
}
legend-link = رابط، مع زمن الذهاب والإياب
legend-flow = عمل متجوّل
legend-cut = رابط مقطوع
legend-star = مصنع؛ الأزرق: المصنع الذي أنت فيه
localisation = نسبة توطين الحوسبة
localisation-of-gpus = وقت GPU، { $month }
localisation-of-cpus = وقت المعالجات، { $month }
localisation-none = لم ينتهِ شيء بعد في هذا الشهر.
at-home = في الوطن
on-continent = في القارة
outside = خارجها
work-here = العمل هنا
and-more = وغيرها
this-one = أنت هنا
link = الرابط
link-live = متصل
col-gpus-free-now = GPU المتاحة
col-out = تشغيلات هناك
col-guests = تشغيلات من هناك
hearsay = ما تقوله المصانع الأخرى عن نفسها قولها وحدها، وتقرّر من جديد حين تُسأل.
