### Usage and budget.

usage-statement = كشف الاستخدام
usage-all-tenants = كل الجهات
usage-so-far = حتى الآن
usage-print = طباعة الكشف
usage-csv = تنزيل (CSV)
usage-issued-by = صادر عن { $factory }، { $country }
usage-issued-to = إلى { $tenant }
usage-issued-at = بتاريخ { $when } بالتوقيت العالمي
usage-no-invoice = كشف استخدام دون احتساب الضريبة وليس فاتورة.
usage-month = الشهر
usage-cost-of-month = تكلفة الشهر
usage-cost-parts = عمليات التشغيل { $runs }، النماذج { $models }
usage-budget-left = المتبقي من الميزانية
usage-of-budget = من { $amount } لهذا الشهر
usage-of-budgets = { $count ->
    [zero] من { $amount } ولا جهة لها ميزانية
    [one] من { $amount } لجهة واحدة لها ميزانية
    [two] من { $amount } لجهتين لهما ميزانية
    [few] من { $amount } لـ { $count } جهات لها ميزانية
    [many] من { $amount } لـ { $count } جهة لها ميزانية
   *[other] من { $amount } لـ { $count } جهة لها ميزانية
}
usage-no-budget = لم تُحدَّد ميزانية
usage-month-over = انتهى الشهر
usage-gpu-hours = ساعات GPU
usage-cpu-hours = ساعات CPU
usage-and-cpu-hours = و{ $hours } ساعات CPU
usage-runs = { $count ->
    [zero] لا عمليات تشغيل
    [one] عملية تشغيل واحدة
    [two] عمليتا تشغيل
    [few] { $count } عمليات تشغيل
    [many] { $count } عملية تشغيل
   *[other] { $count } عملية تشغيل
}
usage-rate-of-gpu = من وقت GPU استُعمل في الوطن
usage-rate-of-cpu = من وقت المعالج استُعمل في الوطن، ولم يُستعمل أي GPU
usage-nothing-yet = لم ينته شيء في هذا الشهر.
usage-by-month = التكلفة حسب الشهر
usage-before-tax = { $currency }، دون الضريبة
usage-kept-by-month = تُمسك الحسابات بالشهر الميلادي، بالتوقيت العالمي.
usage-where = مكان الاستخدام
usage-ring-gpu = وقت GPU
usage-ring-cpu = وقت المعالج
usage-ring-bytes = البايتات الداخلة إلى عمليات التشغيل والخارجة منها
usage-ring-runs = عمليات التشغيل
usage-ring-tokens = الرموز النصّية للنماذج
usage-by-tenant = حسب الجهة
usage-of-runs = التشغيل
usage-of-models = النماذج
usage-left = المتبقي
usage-total = المجموع
usage-how-counted = تُحتسب عمليات التشغيل بعد انتهائها، وطلبات النماذج بعد قيدها، وما يعمل الآن مخصوم مسبقا من المتبقي من الميزانية.
usage-no-projects = لا تعرف الحسابات المشاريع، وتوجد تكلفة كل عبء عمل في صفحته.
usage-by-country = حسب البلد
usage-country = البلد
usage-col-runs = عمليات التشغيل
usage-col-bytes = البيانات المنقولة
usage-requests = الطلبات
usage-tokens = الرموز
usage-country-what = حيث انتهت عمليات التشغيل وأُجيب عن الطلبات إن كان ذلك معروفا. لا تُمسك التكاليف حسب البلد.
usage-by-model = الرموز حسب النموذج
usage-model = النموذج
usage-tokens-in = رموز الإدخال
usage-tokens-out = رموز الإخراج
usage-no-models = لم يُقيَّد أي طلب لنموذج في هذا الشهر.
usage-model-what = ≈: يتضمن تقديرا، لأن خادما لم يذكر عدد الرموز.
