### أعباء العمل، وعبء واحد، وعبء جديد.

workloads-what = الأحدث أولاً. ما يُعرض محفوظ في العنوان، ليُحفظ أو يُرسل.
search-hint = الاسم أو المعرّف أو المشروع
cancel-chosen = إلغاء المختار
workloads-none = لا شيء هنا
workloads-none-what = ما ترسله يظهر هنا، مع سبب انتظاره ومكان تشغيله وتكلفته.
col-name = الاسم
col-why = السبب
col-where = المكان
col-tenant = الجهة
col-gpus = GPU
col-submitted = وقت الإرسال
col-cost = التكلفة
col-id = المعرّف
col-type = النوع
col-priority = الأولوية
col-project = المشروع
col-price = السعر، ساعة GPU
col-queue = الطابور
col-latency = زمن الانتقال، ms
col-carbon = الكربون، g/kWh
col-move = للنقل
col-score = النتيجة، ث

class-data = بيانات من فئة { $class }، المصدر { $origin }
print-verdict = طباعة القرار
print-note = قرار المصنع { $factory }، { $country }.
start-estimate = البدء المتوقع في { $when }
start-none = على هذه الحال لن يبدأ
ahead = { $count ->
    [0] لا شيء قبله
    [zero] لا شيء قبله
    [one] عبء واحد قبله
    [two] عبآن قبله
    [few] { $count } أعباء قبله
    [many] { $count } عبئاً قبله
   *[other] { $count } عبء قبله
}
exit-code = رمز الخروج { $code }
step-queued = قيد الانتظار
step-placed = حُدِّد الموقع
step-running = قيد التنفيذ
step-end = النهاية
step-succeeded = اكتمل بنجاح
step-failed = فشل
step-cancelled = أُلغي
at-latest = في { $when } على الأكثر
log = السجل
log-search = بحث في السجل
log-whole = كامل سجل آخر تشغيل.
log-not-for-auditors = ما تكتبه عمليات التشغيل ليس للمدقّقين: فهم يرون الأدلة، ولا يرون شيئاً مما تملكه جهة.
log-cut = آخر { $size } من آخر تشغيل؛ وفي التنزيل كل ما حُفظ.
log-older = الأسطر الأقدم في الملف المنزَّل.
download = تنزيل
follow = متابعة
runs = التشغيلات
epoch = الحقبة
placed = تحديد الموقع
ended = الانتهاء
outcome = كيف انتهى
cost-so-far = حتى الآن، دون احتساب الضريبة
budget-of = الشريط: ميزانية { $amount }.
used-gpu = وقت GPU
used-cpu = وقت المعالجات
used-memory = أقصى ذاكرة
evidence = الإثبات
spec-digest = المواصفة، SHA-256
log-entries = القيود في سجل التدقيق
receipt = الإيصال
outputs = المخرجات
terms = شروط التشغيل
if-cut-off = عند الانقطاع
max-duration = أقصى مدة
verdict-title = أين يجوز تشغيله، ولماذا
verdict = القرار
rule = القاعدة والمرجع القانوني
in-full = بالتفصيل
chosen = المختار
allowed = مسموح به
refused = مرفوض
not-asked = لم يُسأل: لم يُرسَل إليه شيء عن هذا العمل.
verdict-note = القاعدة الأشد تقييداً هي التي تسري، وكل مجهول مرفوض. ليست استشارة قانونية.

new-what = تُعاد الخطة أثناء الكتابة. لا يُرسل شيء قبل أن تطلب ذلك.
spec-yaml = المواصفة، YAML
example = مثال
check-plan = عرض الخطة
submit = إرسال
plan = الخطة
plan-now = سيبدأ الآن
plan-waits = سينتظر
plan-unlawful = لا يجوز تشغيله هنا
plan-wrong = لا يمكن قبول المواصفة كما هي.
plan-none = لا خطة بعد
plan-none-what = يُعرض هنا أين سيعمل ولماذا ومتى وبأي تكلفة.
cost-max = أقصى تكلفة
cost-open = مفتوحة: ليست له أقصى مدة
